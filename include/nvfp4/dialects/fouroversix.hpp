#pragma once
#include <nvfp4/dialects/four_over_six.hpp>

namespace nvfp4::dialects {

constexpr Dialect fouroversix_record(std::string_view name, std::string_view source, int divisor) {
  return {.name = name,
          .version = "1.1.0 (dadfad69)",
          .source = source,
          .evidence = "golden",
          .global_is = GlobalIs::amax,
          .global_divisor = divisor,
          .nan_in_tensor_amax = true,
          .nan_in_block_amax = true,
          .nan_codes_vary = true,
          .bf16_steps = true};
}

/// The package of "Four Over Six" (MIT HAN Lab), PyTorch reference: elements are rounded on three grids
/// without a clip, and their codes are cut from BF16 bits, so what rounds to 8 becomes -0.
template <int largest>
struct fouroversix_static {
  template <class F>
  struct Tensor {
    F global;
    F encode;   ///< E
    F inverse;  ///< 1 / E
  };

  /// A zero tensor is all zeros.
  template <class F>
  static constexpr F encode_scale(F amax, float numerator) {
    return select(amax == F(0), F(0), F(numerator) / amax);
  }

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F encode = encode_scale(amax, largest * 448.f);
    return {amax, encode, F(1) / encode};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(amax / F(largest) * tensor.encode);
    const F encode = F(1) / (tensor.inverse * scale.value);
    return {scale.code, select(scale.value == F(0), F(0), encode)};
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>&) {
    return e2m1_from_bf16(x * encode);
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F amax, const Setting&) {
    return element * (scale * (amax / F(largest * 448.f)));
  }
};

struct fouroversix_static6 : fouroversix_static<6> {
  static constexpr Dialect info = fouroversix_record(
      "fouroversix_static6", "fouroversix quantize.pytorch.reference.quantize(scale_rule=static_6)", 2688);
};

struct fouroversix_static4 : fouroversix_static<4> {
  static constexpr Dialect info = fouroversix_record(
      "fouroversix_static4", "fouroversix quantize.pytorch.reference.quantize(scale_rule=static_4)", 1792);
};

/// static_6 with headroom for stochastic rounding (round_style=stochastic_unbiased): 16/17 of the range, since a
/// block scale that RNE took down leaves elements up to 17/16 of the largest. Nothing is cut at 6, and where block
/// scales are normal every element's mean is itself.
struct fouroversix_unbiased {
  static constexpr float largest = static_cast<float>(6 * (16. / 17));
  static constexpr float range = static_cast<float>(6 * 448 * (16. / 17));
  static constexpr Dialect info{
      .name = "fouroversix_unbiased",
      .version = "1.1.0 (dadfad69)",
      .source = "fouroversix quantize.pytorch.reference.compute_nv_scale_factors, kernels/triton/fp4.py",
      .evidence = "code",
      .global_is = GlobalIs::multiply,
      .nan_in_tensor_amax = true,
      .nan_in_block_amax = true,
      .nan_codes_vary = true,
      .stochastic = true,
  };

  template <class F>
  struct Tensor {
    F global;
    F encode;
    F inverse;
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F encode = fouroversix_static<6>::encode_scale(amax, range);
    return {amax / F(range), encode, F(1) / encode};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(amax / F(largest) * tensor.encode);
    const F encode = F(1) / (tensor.inverse * scale.value);
    return {scale.code, select(scale.value == F(0), F(0), encode)};
  }

  template <class F>
  static constexpr F scaled(F x, F encode, const Tensor<F>&) {
    return x * encode;
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>&) {
    return e2m1_satfinite(x * encode);
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting&) {
    return element * (scale * global);
  }
};

/// The rules that choose by error, always with 256 as the largest scale.
template <Select rule>
struct fouroversix_choice {
  static constexpr bool adds_halves = true;  ///< as PyTorch reduces 16 contiguous numbers with AVX2

  template <class F>
  using Tensor = four_over_six::Tensor<F>;
  template <class F>
  using Candidate = four_over_six::Candidate<F>;

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F encode = fouroversix_static<6>::encode_scale(amax, 1536);
    return four_over_six::of_encode(amax, encode, {.e4m3_max = 256, .select = rule});
  }

  template <class F>
  static constexpr Candidate<F> candidate(F base, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(base);
    const F encode = F(1) / (tensor.decode * scale.value);
    return {scale.code, scale.value, select(scale.value == F(0), F(0), encode)};
  }

  /// Adding 1.5 * 2^23 rounds to a multiple of 1; what is beyond 2^22 is a multiple of 1 already.
  template <class F>
  static constexpr F rounded(F a) {
    constexpr float magic = 0x1.8p23f;
    return select(a < F(0x1p22f), a + F(magic) - F(magic), a);
  }

  /// The element on its grid before the code is cut: here 8 is still 8. Its masks make NaN of Inf.
  template <class F>
  static constexpr F on_grid(F v) {
    const F a = abs(v);
    const F wide = select(a < F(4), rounded(a), rounded(a * F(0.5f)) * F(2));
    const F q = select(a < F(2), rounded(a * F(2)) * F(0.5f), wide);
    return select(v < F(0), F(0) - q, q) + (v - v);
  }

  template <class F>
  static constexpr F square(F error) {
    return error * error;
  }

  template <class F>
  static constexpr F error(F x, const Candidate<F>& c, const Tensor<F>& tensor) {
    return four_over_six::error_of(on_grid(x * c.encode), x, c, tensor);
  }

  template <class F, class Elements>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor, const Elements& x) {
    return four_over_six::choose<fouroversix_choice>(amax / F(6) * tensor.encode, tensor, x);
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>&) {
    return e2m1_from_bf16(x * encode);
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F amax, const Setting&) {
    return element * (scale * (amax / F(1536)));
  }
};

struct fouroversix_mse : fouroversix_choice<Select::mse> {
  static constexpr Dialect info = fouroversix_record(
      "fouroversix_mse", "fouroversix quantize.pytorch.reference.quantize(scale_rule=mse)", 1536);
};

struct fouroversix_mae : fouroversix_choice<Select::mae> {
  static constexpr Dialect info = fouroversix_record(
      "fouroversix_mae", "fouroversix quantize.pytorch.reference.quantize(scale_rule=mae)", 1536);
};

struct fouroversix_absmax : fouroversix_choice<Select::absmax> {
  static constexpr Dialect info = fouroversix_record(
      "fouroversix_absmax", "fouroversix quantize.pytorch.reference.quantize(scale_rule=abs_max)", 1536);
};

}  // namespace nvfp4::dialects
