#pragma once
#include <nvfp4/arithmetic.hpp>

namespace nvfp4::dialects {

/// ModelOpt's dynamic weight path. True divisions; a scale of zero becomes 1, others at least 2^-9.
struct modelopt {
  static constexpr Dialect info{
      .name = "modelopt",
      .version = "0.47.0",
      .source = "nvidia-modelopt NVFP4QTensor.quantize",
      .evidence = "golden",
      .global_is = GlobalIs::multiply,
      .nan_in_tensor_amax = true,
      .nan_in_block_amax = true,
  };

  template <class F>
  struct Tensor {
    F global;
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    return {amax / F(2688)};
  }

  template <class F>
  static constexpr BlockScale<F> of_unrounded(F t, const F& global) {
    const auto scale = e4m3_satfinite(max_nan(t, F(0x1p-9f)));
    return {scale.code, scale.value * global};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const F t = amax / (F(6) * tensor.global);
    return of_unrounded(select(t == F(0), F(1), t), tensor.global);
  }

  /// A search of sorted bounds, in which NaN comes last: code 7.
  template <class F>
  static constexpr typename F::Code element(F x, F divisor, const Tensor<F>&) {
    const F v = x / divisor;
    return e2m1_magnitude(v) | negative(v);
  }

  /// Its table has +0 for code 8.
  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting&) {
    return (element + F(0)) * (scale * global);
  }
};

/// With a calibrated amax: the block scale is normalised by amax / 6 after it was multiplied by 448.
struct modelopt_static : modelopt {
  static constexpr Dialect info{
      .name = "modelopt_static",
      .version = modelopt::info.version,
      .source = "nvidia-modelopt NVFP4QTensor.get_weights_scaling_factor_from_quantizer, static",
      .evidence = "golden",
      .global_is = GlobalIs::multiply,
      .nan_in_tensor_amax = true,
      .nan_in_block_amax = true,
  };

  template <class F>
  struct Tensor {
    F global;
    F sixth;  ///< amax / 6
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    return {amax / F(2688), amax / F(6)};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const F sixth = amax / F(6);
    const F t = select(sixth == F(0), F(1), sixth);
    return of_unrounded(t * F(448) / tensor.sixth, tensor.global);
  }

  template <class F>
  static constexpr typename F::Code element(F x, F divisor, const Tensor<F>&) {
    return modelopt::element<F>(x, divisor, {divisor});
  }
};

/// The ONNX exporter: a zero tensor scale becomes 1, and code 8 stays -0.
struct modelopt_onnx : modelopt {
  static constexpr Dialect info{
      .name = "modelopt_onnx",
      .version = modelopt::info.version,
      .source = "nvidia-modelopt onnx quant_utils.get_weights_scaling_factor, quantize, _cast_fp4",
      .evidence = "golden",
      .global_is = GlobalIs::multiply,
      .nan_in_tensor_amax = true,
      .nan_in_block_amax = true,
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F global = amax / F(2688);
    return {select(global == F(0), F(1), global)};
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting&) {
    return element * (scale * global);
  }
};

}  // namespace nvfp4::dialects
