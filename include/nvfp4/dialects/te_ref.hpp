#pragma once
#include <nvfp4/dialects/four_over_six.hpp>

namespace nvfp4::dialects {

/// Transformer Engine's PyTorch reference quantizer: the kernels' order of operations with PyTorch's
/// edges. NaN poisons every maximum, NaN elements match no rounding rule and give code 0, and the sign
/// comes from x < 0, so -0 gives code 0.
struct te_ref {
  static constexpr Dialect info{
      .name = "te_ref",
      .version = "2.20.2",
      .source = "transformer-engine custom_recipes.reference_nvfp4.NVFP4QuantizerRef",
      .evidence = "golden",
      .global_is = GlobalIs::amax,
      .global_divisor = 2688,
      .nan_in_tensor_amax = true,
      .nan_in_block_amax = true,
  };

  template <class F>
  using Tensor = te::Tensor<F>;

  /// 1 for an infinite amax; a zero amax gives FLT_MAX.
  template <class F>
  static constexpr F encode_scale(F amax, float numerator) {
    const F encode = min_nan(F(numerator) / amax, F(flt_max));
    return select(encode == F(0), F(1), encode);
  }

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    return te::of_encode(amax, encode_scale(amax, 2688));
  }

  template <class F>
  static constexpr F block_encode(F scale, F decode) {
    return min_nan(F(1) / (scale * decode), F(flt_max));
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(min_nan(amax * tensor.multiplier, F(flt_max)));
    return {scale.code, block_encode(scale.value, tensor.decode)};
  }

  template <class F>
  static constexpr typename F::Code rounded(F y) {
    return e2m1_by_comparison(y);
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>&) {
    return rounded(x * encode);
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F amax, const Setting&) {
    return element * (scale * (amax / F(2688)));
  }
};

/// The same with nvfp4_use_4over6.
struct te_ref_4over6 : te_choice<te_ref> {
  static constexpr Dialect info{
      .name = "te_ref_4over6",
      .version = te_ref::info.version,
      .source = te_ref::info.source,
      .evidence = "golden",
      .global_is = GlobalIs::amax,
      .global_divisor = 2688,
      .nan_in_tensor_amax = true,
      .nan_in_block_amax = true,
      .four_over_six = true,
  };

  template <class F>
  static constexpr F dequantize(F element, F scale, F amax, const Setting& setting) {
    return element * (scale * (amax / F(6.f * static_cast<float>(setting.four_over_six.e4m3_max))));
  }
};

}  // namespace nvfp4::dialects
