#pragma once
#include <nvfp4/arithmetic.hpp>
#include <nvfp4/dialect.hpp>

namespace nvfp4::dialects {

/// Transformer Engine's CUDA kernels, default arithmetic. The divisor 6 of the block amax is folded into
/// the tensor's multiplier as FP32(1/6), and elements are multiplied by a reciprocal, never divided.
struct te {
  static constexpr Dialect info{
      .name = "te",
      .version = "d0067d0da6cb (2026-08-22)",
      .source = "NVIDIA/TransformerEngine common/cast/nvfp4/core_nvfp4.cuh",
      .evidence = "code",
      .global_is = GlobalIs::amax,
      .global_divisor = 2688,
  };
  static constexpr bool nan_in_amax = false;  ///< the kernels' maxima drop NaN

  template <class F>
  struct Tensor {
    F multiplier;  ///< S_enc * FP32(1/6)
    F decode;      ///< S_dec = 1 / S_enc
  };

  template <class F>
  static Tensor<F> tensor(F amax) {
    F encode = min_num(F(2688) / amax, F(flt_max));
    encode = select((amax == F(0)) | (encode == F(0)), F(1), encode);
    return {encode * F(one_sixth), F(1) / encode};
  }

  template <class F>
  static BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(min_num(amax * tensor.multiplier, F(flt_max)));
    return {scale.code, min_num(F(1) / (scale.value * tensor.decode), F(flt_max))};
  }

  template <class F>
  static typename F::Code element(F x, F encode) {
    return e2m1_satfinite(x * encode);
  }

  template <class F>
  static F dequantize(F element, F scale, F amax) {
    return element * ((scale * amax) * F(one_over_2688));
  }
};

}  // namespace nvfp4::dialects
