#pragma once
#include <nvfp4/arithmetic.hpp>

namespace nvfp4::dialects {

/// FlashInfer's CUDA kernels as its JIT compiles them: every FP32 operation flushes subnormals.
struct flashinfer {
  static constexpr Dialect info{
      .name = "flashinfer",
      .version = "fb28d7242b35 (2026-08-22)",
      .source = "flashinfer-ai/flashinfer csrc/nv_internal/tensorrt_llm/kernels/quantization_utils.cuh",
      .evidence = "code",
      .global_is = GlobalIs::divide,
  };

  template <class F>
  struct Tensor {
    F global;   ///< SFScaleVal, an encode scale
    F inverse;  ///< rcp.approx of it
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F global = make_global(amax);
    return {global, rcp_approx_ftz(global)};
  }

  /// make_nvfp4_global_scale: FLT_MAX for a zero amax.
  template <class F>
  static constexpr F make_global(F amax) {
    return select(amax == F(0), F(flt_max), rdiv(2688, amax));
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const F a = ftz(amax);
    const auto scale = e4m3_satfinite(ftz(tensor.global * ftz(a * rcp_approx_ftz(F(6)))));
    const F encode = rcp_approx_ftz(ftz(scale.value * tensor.inverse));
    return {scale.code, select(a == F(0), F(0), encode)};
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>&) {
    return e2m1_satfinite(ftz(ftz(x) * encode));
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting&) {
    return element * (scale / global);
  }
};

/// FLASHINFER_DISABLE_FP4_QUANT_FAST_MATH: true divisions, meant to equal te but for ftz and zero blocks.
struct flashinfer_exact : flashinfer {
  static constexpr Dialect info{
      .name = "flashinfer_exact",
      .version = flashinfer::info.version,
      .source = flashinfer::info.source,
      .evidence = "code",
      .global_is = GlobalIs::divide,
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F global = make_global(amax);
    return {global, ftz(F(1) / ftz(global))};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const F a = ftz(amax);
    const F unrounded = ftz(a * ftz(tensor.global * F(one_sixth)));
    const auto scale = e4m3_satfinite(select(a == F(0), F(0), unrounded));
    const F encode = min_num(ftz(F(1) / ftz(scale.value * tensor.inverse)), F(flt_max));
    return {scale.code, select(a == F(0), F(0), encode)};
  }
};

/// One scale a row: rowAmax / 2688, kept as a decode scale, and its approximate reciprocal. The kernel that keeps its
/// block amaxes hands the decode scale on beside that; the other takes the reciprocal of the reciprocal, which ptxas
/// makes the number itself (seen in the code of sm_90 and sm_100).
struct flashinfer_per_token : flashinfer {
  static constexpr Dialect info{
      .name = "flashinfer_per_token",
      .version = flashinfer::info.version,
      .source = "flashinfer-ai/flashinfer csrc/nv_internal/tensorrt_llm/kernels/quantization.cuh",
      .evidence = "code; inferred: globalScaleInv is FP32(1/2688)",
      .global_is = GlobalIs::multiply,
      .per_row = true,
  };

  template <class F>
  struct Tensor {
    F global;   ///< perToken, a decode scale
    F encode;   ///< rcp.approx of it
    F inverse;  ///< perToken
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F global = ftz(ftz(amax) * F(one_over_2688));
    return {global, rcp_approx_ftz(global), global};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    return flashinfer::block<F>(amax, {tensor.encode, tensor.inverse});
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>&) {
    return e2m1_satfinite(ftz(ftz(x) * encode));
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting&) {
    return element * (scale * global);
  }
};

/// The same with true divisions. The row's encode scale is made first, and its reciprocal kept.
struct flashinfer_per_token_exact : flashinfer_per_token {
  static constexpr Dialect info{
      .name = "flashinfer_per_token_exact",
      .version = flashinfer::info.version,
      .source = flashinfer_per_token::info.source,
      .evidence = flashinfer_per_token::info.evidence,
      .global_is = GlobalIs::multiply,
      .per_row = true,
  };

  /// globalScale / rowAmax, at most FLT_MAX; 1 where that is 0.
  template <class F>
  static constexpr F row_encode(F amax, F global_scale) {
    const F encode = min_num(ftz(global_scale / amax), F(flt_max));
    return select(encode == F(0), F(1), encode);
  }

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F a = ftz(amax);
    const F encode = select(a == F(0), F(flt_max), row_encode(a, F(1) / F(one_over_2688)));
    const F inverse = ftz(F(1) / ftz(encode));
    return {inverse, encode, inverse};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    return flashinfer_exact::block<F>(amax, {tensor.encode, tensor.inverse});
  }
};

/// The published "reference" of its trace templates, which breaks ties towards zero.
struct flashinfer_ref {
  static constexpr Dialect info{
      .name = "flashinfer_ref",
      .version = "0.7.2.post1",
      .source = "flashinfer trace.templates.quantize._nvfp4_quantize_reference",
      .evidence = "golden",
      .global_is = GlobalIs::divide,
      .nan_in_tensor_amax = true,
      .nan_in_block_amax = true,
  };

  template <class F>
  struct Tensor {
    F global;
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    return {rdiv(2688, amax)};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(amax / F(6) * tensor.global);
    return {scale.code, select(F(0) < scale.value, scale.value, F(1))};
  }

  template <class F>
  static constexpr typename F::Code element(F x, F divisor, const Tensor<F>& tensor) {
    const F v = x * tensor.global / divisor;
    return e2m1_nearest_first(abs(v), F(1)) | negative(v);
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting&) {
    return element * (scale * (F(1) / global));
  }
};

}  // namespace nvfp4::dialects
