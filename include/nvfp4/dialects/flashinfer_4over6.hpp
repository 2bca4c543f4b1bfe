#pragma once
#include <nvfp4/dialects/flashinfer.hpp>
#include <nvfp4/dialects/four_over_six.hpp>

namespace nvfp4::dialects {

/// FlashInfer's four-over-six, with approximate reciprocals or true divisions, under a tensor's scale or a row's.
/// Every FP32 operation flushes subnormals. A block of zeros has scale 0 and codes 0, of -0 too.
template <bool exact, bool per_token>
struct flashinfer_choice {
  static constexpr bool adds_halves = false;  ///< a thread has all 16 elements since CUDA 12.9

  template <class F>
  using Candidate = four_over_six::Candidate<F>;

  template <class F>
  struct Tensor {
    F global;  ///< SFScaleVal, an encode scale; of a row, its decode scale
    F encode, decode;
    F row_amax;  ///< 0 under a tensor's scale
    F largest;   ///< 6 * e4m3_max
    FourOverSix options;
  };

  template <class F>
  static constexpr F reciprocal(F x) {
    return exact ? ftz(F(1) / ftz(x)) : rcp_approx_ftz(x);
  }

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting& setting) {
    const FourOverSix& options = setting.four_over_six;
    const float largest = 6.f * static_cast<float>(options.e4m3_max);
    if constexpr (!per_token) {
      const F encode = select(amax == F(0), F(flt_max), rdiv(largest, amax));
      return {encode, encode, reciprocal(encode), F(0), F(largest), options};
    } else {
      const F a = ftz(amax), inverse_global = F(1) / F(largest);
      if constexpr (exact) {
        const F of_numbers = flashinfer_per_token_exact::row_encode(a, F(1) / inverse_global);
        const F encode = select(a == F(0), F(0), of_numbers);
        const F global = select(a == F(0), F(0), reciprocal(encode));
        return {global, encode, reciprocal(encode), a, F(largest), options};
      } else {
        const F global = ftz(a * inverse_global);  // and not rcp.approx of rcp.approx: see arithmetic.hpp
        return {global, reciprocal(global), global, a, F(largest), options};
      }
    }
  }

  template <class F>
  static constexpr Candidate<F> candidate(F base, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(base);
    const F encode = reciprocal(ftz(scale.value * tensor.decode));
    return {scale.code, scale.value, exact ? min_num(encode, F(flt_max)) : encode};
  }

  template <class F>
  static constexpr F square(F error) {
    return ftz(error * error);
  }

  template <class F>
  static constexpr F error(F x, const Candidate<F>& c, const Tensor<F>& tensor) {
    const F value = ftz(F::e2m1_value(element(x, c.encode, tensor)) * c.scale);
    if (tensor.options.error_fast) return ftz(value - ftz(ftz(x) * tensor.encode));
    const F of_row = ftz(ftz(value * tensor.row_amax) / tensor.largest);
    return ftz(select(F(0) < tensor.row_amax, of_row, ftz(value * tensor.decode)) - ftz(x));
  }

  template <class F, class Elements>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor, const Elements& x) {
    const F a = ftz(amax);
    const F sixth = exact ? ftz(a / F(6)) : ftz(a * rcp_approx_ftz(F(6)));
    const F base = ftz(sixth * tensor.encode);
    const auto chosen = four_over_six::better_of<flashinfer_choice>(
        candidate(base, tensor), candidate(ftz(base * F(1.5f)), tensor), tensor, x);
    using Code = typename F::Code;
    return {select(a == F(0), Code(0), chosen.code), select(a == F(0), F(no_codes), chosen.encode)};
  }

  static constexpr float no_codes = -1;  ///< for a coefficient, which is never negative: all codes are 0

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>&) {
    return select(encode == F(no_codes), typename F::Code(0), e2m1_satfinite(ftz(ftz(x) * encode)));
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting&) {
    return element * (per_token ? scale * global : scale / global);
  }

  static constexpr Dialect record(std::string_view name) {
    return {.name = name,
            .version = flashinfer::info.version,
            .source = flashinfer::info.source,
            .evidence = per_token ? "code; inferred: globalScaleInv is FP32(1/2688), 16 elements a thread"
                                  : "code; inferred: 16 elements a thread",
            .global_is = per_token ? GlobalIs::multiply : GlobalIs::divide,
            .per_row = per_token,
            .four_over_six = true};
  }
};

struct flashinfer_4over6 : flashinfer_choice<false, false> {
  static constexpr Dialect info = record("flashinfer_4over6");
};
struct flashinfer_4over6_exact : flashinfer_choice<true, false> {
  static constexpr Dialect info = record("flashinfer_4over6_exact");
};
struct flashinfer_4over6_per_token : flashinfer_choice<false, true> {
  static constexpr Dialect info = record("flashinfer_4over6_per_token");
};
struct flashinfer_4over6_per_token_exact : flashinfer_choice<true, true> {
  static constexpr Dialect info = record("flashinfer_4over6_per_token_exact");
};

}  // namespace nvfp4::dialects
