#pragma once
#include <nvfp4/arithmetic.hpp>

namespace nvfp4::dialects {

/// ggml's quantize_row_nvfp4_ref. One level; its own rounding of the scale; the first nearest code.
struct ggml {
  static constexpr Dialect info{
      .name = "ggml",
      .version = "d99724f2",
      .source = "ggml quantize_row_nvfp4_ref, dequantize_row_nvfp4",
      .evidence = "golden",
      .global_is = GlobalIs::none,
  };

  template <class F>
  struct Tensor {};

  template <class F>
  static constexpr Tensor<F> tensor(F, const Setting&) {
    return {};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>&) {
    const auto scale = e4m3_ggml(amax / F(6));
    return {scale.code, scale.value};
  }

  template <class F>
  static constexpr typename F::Code element(F x, F scale, const Tensor<F>&) {
    return e2m1_nearest_first(x, scale);
  }

  /// Twice the element times half the scale, both exact. Its decoder takes 0x7F for zero.
  template <class F>
  static constexpr F dequantize(F element, F scale, F, const Setting&) {
    return element * select(is_nan(scale), F(0), scale);
  }
};

}  // namespace nvfp4::dialects
