#pragma once
#include <nvfp4/arithmetic.hpp>

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
      .stochastic = true,
      .tensor_core_rht = true,
  };

  template <class F>
  struct Tensor {
    F global;
    F encode;      ///< S_enc
    F multiplier;  ///< S_enc * FP32(1/6)
    F decode;      ///< S_dec = 1 / S_enc
  };

  template <class F>
  static constexpr Tensor<F> of_encode(F amax, F encode) {
    return {amax, encode, encode * F(one_sixth), F(1) / encode};
  }

  /// 2688 / amax, or what 6 * e4m3_max puts in 2688's place.
  template <class F>
  static constexpr F encode_scale(F amax, float numerator) {
    const F encode = min_num(F(numerator) / amax, F(flt_max));
    return select((amax == F(0)) | (encode == F(0)), F(1), encode);
  }

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    return of_encode(amax, encode_scale(amax, 2688));
  }

  /// What elements are multiplied by, of a block scale and S_dec.
  template <class F>
  static constexpr F block_encode(F scale, F decode) {
    return min_num(F(1) / (scale * decode), F(flt_max));
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(min_num(amax * tensor.multiplier, F(flt_max)));
    return {scale.code, block_encode(scale.value, tensor.decode)};
  }

  template <class F>
  static constexpr typename F::Code rounded(F y) {
    return e2m1_satfinite(y);
  }

  template <class F>
  static constexpr F scaled(F x, F encode, const Tensor<F>&) {
    return x * encode;
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>& tensor) {
    return rounded(scaled(x, encode, tensor));
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F amax, const Setting&) {
    return element * ((scale * amax) * F(one_over_2688));
  }
};

/// NVTE_USE_FAST_MATH=1. It changes the 1x16 kernel of BF16 inputs alone, whose coefficient becomes a BF16
/// number; all else is te.
struct te_fast_math : te {
  static constexpr Dialect info{
      .name = "te_fast_math",
      .version = te::info.version,
      .source = "NVIDIA/TransformerEngine specialized/quantize_transpose_nvfp4_tuned_1D.cuh",
      .evidence = "code",
      .global_is = GlobalIs::amax,
      .global_divisor = 2688,
      .stochastic = true,
      .tensor_core_rht = true,
      .bf16_steps = true,
  };

  template <class F>
  struct Tensor : te::Tensor<F> {
    bool bf16_coefficient;
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting& setting) {
    return {te::tensor(amax, setting), setting.dtype == Dtype::bf16 && setting.block.rows == 1};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    if (!tensor.bf16_coefficient) return te::block<F>(amax, tensor);
    constexpr float bf16_max = 0x1.fep127f;
    const auto scale = e4m3_satfinite(min_num(amax * tensor.multiplier, F(flt_max)));
    return {scale.code, to_bf16(min_num(tensor.encode / scale.value, F(bf16_max)))};
  }

  /// fma.rn.f32.bf16 with an addend of +0: the product of two BF16 numbers, and +0 for -0.
  template <class F>
  static constexpr F scaled(F x, F encode, const Tensor<F>& tensor) {
    return tensor.bf16_coefficient ? x * encode + F(0) : x * encode;
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>& tensor) {
    return rounded(scaled(x, encode, tensor));
  }
};

/// The fused RHT kernels' arithmetic: a NaN poisons its block, and an infinite amax is not repaired.
struct te_rht_fused : te {
  static constexpr Dialect info{
      .name = "te_rht_fused",
      .version = te::info.version,
      .source = "NVIDIA/TransformerEngine row_cast_col_hadamard_transform_cast_fusion.cu",
      .evidence = "code; inferred: the sum inside the transform",
      .global_is = GlobalIs::amax,
      .global_divisor = 2688,
      .nan_in_block_amax = true,
      .stochastic = true,
      .tensor_core_rht = true,
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    return of_encode(amax, select(F(0) < amax, min_nan(F(2688) / amax, F(flt_max)), F(1)));
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
};

/// The same with NVTE_USE_FAST_MATH=1: an approximate reciprocal, and a transform that is not rounded to BF16
/// before it is quantized. Its tensor amax still comes from the kernel that rounds, so a block's may exceed it.
struct te_rht_fused_fast_math : te_rht_fused {
  static constexpr Dialect info{
      .name = "te_rht_fused_fast_math",
      .version = te::info.version,
      .source = te_rht_fused::info.source,
      .evidence = te_rht_fused::info.evidence,
      .global_is = GlobalIs::amax,
      .global_divisor = 2688,
      .nan_in_block_amax = true,
      .stochastic = true,
      .tensor_core_rht = true,
      .unrounded_rht = true,
  };

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(min_nan(amax * tensor.multiplier, F(flt_max)));
    return {scale.code, min_nan(rcp_approx_ftz(scale.value * tensor.decode), F(flt_max))};
  }
};

/// te with block scales rounded up, so that stochastic rounding never meets an element beyond 6: unbiased for
/// every input, but where a block scale is 448.
struct te_scale_up : te {
  static constexpr Dialect info{
      .name = "te_scale_up",
      .version = te::info.version,
      .source = "te, with block scales rounded up",
      .evidence = "inferred: no producer's; a control for stochastic rounding's bias",
      .global_is = GlobalIs::amax,
      .global_divisor = 2688,
      .stochastic = true,
      .tensor_core_rht = true,
      .scale_rounding = Rounding::up,
  };

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_up(min_num(amax * tensor.multiplier, F(flt_max)));
    return {scale.code, block_encode(scale.value, tensor.decode)};
  }
};

/// The partial cast of FSDP: a tensor amax below FLT_MIN counts as FLT_MIN.
struct te_fsdp : te {
  static constexpr Dialect info{
      .name = "te_fsdp",
      .version = te::info.version,
      .source = "NVIDIA/TransformerEngine common/recipe/nvfp4.cu",
      .evidence = "code",
      .global_is = GlobalIs::amax,
      .global_divisor = 2688,
      .tensor_core_rht = true,
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F encode = min_num(F(2688) / max_nan(amax, F(flt_min)), F(flt_max));
    return of_encode(amax, select(F(0) < amax, encode, F(1)));
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(min_num(amax * tensor.multiplier, F(flt_max)));
    const F encode = block_encode(scale.value, tensor.decode);
    return {scale.code, select(scale.value == F(0), F(flt_max), encode)};
  }
};

}  // namespace nvfp4::dialects
