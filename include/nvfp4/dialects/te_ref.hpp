#pragma once
#include <nvfp4/arithmetic.hpp>
#include <nvfp4/dialect.hpp>

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
  };
  static constexpr bool nan_in_amax = true;

  template <class F>
  struct Tensor {
    F multiplier;  ///< S * FP32(1/6)
    F decode;      ///< D = 1 / S
  };

  template <class F>
  static Tensor<F> tensor(F amax) {
    F encode = min_nan(F(2688) / amax, F(flt_max));
    encode = select(encode == F(0), F(1), encode);  // an infinite amax; zero has become flt_max
    return {encode * F(one_sixth), F(1) / encode};
  }

  template <class F>
  static BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(min_nan(amax * tensor.multiplier, F(flt_max)));
    return {scale.code, min_nan(F(1) / (scale.value * tensor.decode), F(flt_max))};
  }

  template <class F>
  static typename F::Code element(F x, F encode) {
    using Code = typename F::Code;
    const F y = x * encode;
    return select(is_nan(y), Code(0), e2m1_magnitude(y) | negative(y));
  }

  template <class F>
  static F dequantize(F element, F scale, F amax) {
    return element * (scale * (amax / F(2688)));
  }
};

}  // namespace nvfp4::dialects
