#pragma once
#include <nvfp4/arithmetic.hpp>

namespace nvfp4::dialects {

/// compressed-tensors, and llm-compressor through it. Tensor scale and amax / 6 are computed in the weight's
/// element type; a scale that rounds to zero becomes 0.125, the library's "eps" of E4M3.
struct compressed_tensors {
  static constexpr Dialect info{
      .name = "compressed_tensors",
      .version = "0.20.0",
      .source = "compressed-tensors generate_gparam, calculate_qparams, NVFP4PackedCompressor.compress",
      .evidence = "golden",
      .global_is = GlobalIs::divide,
      .nan_in_tensor_amax = true,
      .nan_in_block_amax = true,
      .nan_codes_vary = true,
  };

  template <class F>
  struct Tensor {
    F global;
    Dtype dtype;
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting& setting) {
    const Dtype dtype = setting.dtype;
    const F least(dtype == Dtype::fp16 ? 0x1p-14f : flt_min);  // finfo(dtype).tiny
    const F inverse = to_dtype(F(1) / max_nan(amax, least), dtype);
    const F global = to_dtype(inverse * F(2688), dtype);
    return {select(abs(global) < F(__builtin_inff()), global, F(1)), dtype};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(tensor.global * to_dtype(amax / F(6), tensor.dtype));
    const auto underflows = scale.value == F(0);
    const F value = select(underflows, F(0.125f), scale.value);
    return {select(underflows, typename F::Code(0x20), scale.code), value / tensor.global};
  }

  template <class F>
  static constexpr typename F::Code element(F x, F divisor, const Tensor<F>& tensor) {
    const F v = x / divisor;
    const typename F::Code nan(tensor.dtype == Dtype::fp32 ? 0 : 8);
    return select(is_nan(v), nan, e2m1_by_comparison(v));
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting&) {
    return element * (scale * (F(1) / global));
  }
};

}  // namespace nvfp4::dialects
