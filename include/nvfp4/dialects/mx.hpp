#pragma once
#include <nvfp4/arithmetic.hpp>

namespace nvfp4::dialects {

/// The OCP MX formats, the baselines: blocks of 32, a power of two for each, no second level. `rounding` says
/// which power of two: at most amax (floor), so that nothing saturates (ceil), or the nearer by vLLM's rule,
/// whose amax goes up from 1.75.
template <Format element_format, Rounding rounding>
struct mx {
  static constexpr bool fp4 = element_format == Format::e2m1;
  static constexpr float largest = fp4 ? 6 : 448;
  static constexpr int largest_exponent = fp4 ? 2 : 8;  ///< of `largest`

  template <class F>
  struct Tensor {};

  template <class F>
  static constexpr Tensor<F> tensor(F, const Setting&) {
    return {};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>&) {
    const auto scale = rounding == Rounding::up ? e8m0(amax / F(largest), 0, rounding)
                                                : e8m0(amax, -largest_exponent, rounding);
    return {scale.code, scale.value};
  }

  template <class F>
  static constexpr typename F::Code element(F x, F scale, const Tensor<F>&) {
    using Code = typename F::Code;
    const F y = x / scale;
    if constexpr (fp4)
      return e2m1_satfinite(y);
    else
      return e4m3_satfinite(abs(y)).code |
             select(is_nan(y), Code(0), select(has_sign(y), Code(0x80), Code(0)));
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F, const Setting&) {
    return element * scale;
  }

  static constexpr Dialect record(std::string_view name) {
    return {.name = name,
            .version = "OCP MX 1.0",
            .source = "OCP Microscaling Formats Specification 1.0, 6.3; NVIDIA rounds scales up",
            .evidence = "documented; inferred: NaN poisons its block, a zero block has scale 2^-127",
            .global_is = GlobalIs::none,
            .nan_in_block_amax = true,
            .block_cols = 32,
            .element = element_format,
            .scale = Format::e8m0,
            .scale_rounding = rounding};
  }
};

struct mxfp4_floor : mx<Format::e2m1, Rounding::toward_zero> {
  static constexpr Dialect info = record("mxfp4_floor");
};
struct mxfp4_ceil : mx<Format::e2m1, Rounding::up> {
  static constexpr Dialect info = record("mxfp4_ceil");
};
struct mxfp4_nearest : mx<Format::e2m1, Rounding::ties_away> {
  static constexpr Dialect info = record("mxfp4_nearest");
};
/// "Training LLMs with MXFP4" (arXiv 2502.20586): floor scales, and elements at 3/4, which then lie below 6. Rounded
/// stochastically they are never cut, and every element's mean is itself, to the 8 bits of a random number. The 4/3 that
/// undoes it is the tensor scale.
struct mxfp4_unbiased : mxfp4_floor {
  static constexpr Dialect info = [] {
    Dialect d = record("mxfp4_unbiased");
    d.version = "0cc57fec (2025-04-24)";
    d.source = "amazon-science/mxfp4-llm patch_override_scripts/microxcaling.patch, dither_scale";
    d.evidence = "code; inferred: edges as mxfp4_floor";
    d.global_is = GlobalIs::multiply;
    d.stochastic = true;
    d.tensor_core_rht = true;
    return d;
  }();

  template <class F>
  struct Tensor {
    F global;
  };

  template <class F>
  static constexpr Tensor<F> tensor(F, const Setting&) {
    return {F(4.f / 3)};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>&) {
    return mxfp4_floor::block(amax, mxfp4_floor::Tensor<F>{});
  }

  template <class F>
  static constexpr F scaled(F x, F scale, const Tensor<F>&) {
    return x / scale * F(0.75f);
  }

  template <class F>
  static constexpr typename F::Code element(F x, F scale, const Tensor<F>& tensor) {
    return e2m1_satfinite(scaled(x, scale, tensor));
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting&) {
    return element * scale * global;
  }
};

struct mxfp8_floor : mx<Format::e4m3, Rounding::toward_zero> {
  static constexpr Dialect info = record("mxfp8_floor");
};
struct mxfp8_ceil : mx<Format::e4m3, Rounding::up> {
  static constexpr Dialect info = record("mxfp8_ceil");
};

}  // namespace nvfp4::dialects
