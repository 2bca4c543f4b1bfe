#pragma once
#include <nvfp4/arithmetic.hpp>

namespace nvfp4::dialects {

/// vLLM's CUDA kernels: approximate reciprocals, and a guard on the rounded scale. The global scale is the
/// caller's; without one, 448 * 6 / amax as PyTorch computes it.
struct vllm {
  static constexpr Dialect info{
      .name = "vllm",
      .version = "20b4ad8eb933",
      .source = "vllm-project/vllm csrc/libtorch_stable/quantization/fp4/nvfp4_utils.cuh",
      .evidence = "code; inferred: subnormals kept, the compiler flags are not known",
      .global_is = GlobalIs::divide,
  };

  template <class F>
  struct Tensor {
    F global;   ///< SFScaleVal, an encode scale
    F inverse;  ///< rcp.approx of it
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F global = rdiv(2688, amax);
    return {global, rcp_approx_ftz(global)};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(tensor.global * (amax * rcp_approx_ftz(F(6))));
    const F encode = rcp_approx_ftz(scale.value * tensor.inverse);
    return {scale.code, select(scale.value == F(0), F(0), encode)};
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>&) {
    return e2m1_satfinite(x * encode);
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting&) {
    return element * (scale / global);
  }
};

/// TensorRT-LLM's: the guard is on the scale before rounding, so a scale that underflows gives codes of 6.
struct trtllm : vllm {
  static constexpr Dialect info{
      .name = "trtllm",
      .version = "0193dbd41892",
      .source = "NVIDIA/TensorRT-LLM cpp/tensorrt_llm/kernels/quantization.cuh",
      .evidence = "code; inferred: subnormals kept, the compiler flags are not known",
      .global_is = GlobalIs::divide,
  };

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const F unrounded = tensor.global * (amax * rcp_approx_ftz(F(6)));
    const auto scale = e4m3_satfinite(unrounded);
    const F encode = rcp_approx_ftz(scale.value * tensor.inverse);
    return {scale.code, select(unrounded == F(0), F(0), encode)};
  }
};

/// vLLM's Python emulation: reciprocals of numbers that are never zero.
struct vllm_emulation {
  static constexpr Dialect info{
      .name = "vllm_emulation",
      .version = "0.33.0",
      .source = "vllm nvfp4_emulation_utils.ref_nvfp4_quant",
      .evidence = "golden",
      .global_is = GlobalIs::divide,
      .nan_in_tensor_amax = true,
      .nan_in_block_amax = true,
  };

  template <class F>
  struct Tensor {
    F global;
    F inverse;
  };

  template <class F>
  static constexpr F reciprocal(F t) {
    return F(1) / select(t == F(0), F(1e8f), t);
  }

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F global = rdiv(2688, amax);
    return {global, reciprocal(global)};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(tensor.global * (amax * F(one_sixth)));
    return {scale.code, reciprocal(scale.value * tensor.inverse)};
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>&) {
    const F v = x * encode;
    return e2m1_magnitude(v) | negative(v);
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting&) {
    return element * (scale / global);
  }
};

}  // namespace nvfp4::dialects
