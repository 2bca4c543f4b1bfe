#pragma once
#include <nvfp4/arithmetic.hpp>

namespace nvfp4::dialects {

/// ARCQuant's authors: their model code divides by the tensor scale, both in BF16, their kernel makes block scales of at
/// least 2^-9 and multiplies by a reciprocal. PyTorch multiplies by FP32(1/2688) where it divides by a number, and casts a
/// scalar tensor to the other operand's BF16.
struct arcquant {
  static constexpr Dialect info{
      .name = "arcquant",
      .version = "275b0b8eb9ae",
      .source =
          "actypedef/ARCQuant model/qLinearLayer.py; kernels/src/reorder.cu as of pdh930105/ARCQuant "
          "e1176ce53d62",
      .evidence = "code; inferred: NaN and the division's types",
      .global_is = GlobalIs::multiply,
      .nan_in_tensor_amax = true,
      .nan_in_block_amax = true,
      .nan_codes_vary = true,
      .bf16_steps = true,
  };

  template <class F>
  struct Tensor {
    F global;
    F divisor;
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F global = amax * F(one_over_2688);
    return {global, to_bf16(global)};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(max_nan(to_bf16(amax / tensor.divisor) / F(6), F(0x1p-9f)));
    return {scale.code, F(1) / scale.value};
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>& tensor) {
    return e2m1_satfinite(to_bf16(x / tensor.divisor) * encode);
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting&) {
    return element * (scale * global);
  }
};

}  // namespace nvfp4::dialects
