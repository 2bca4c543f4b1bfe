#pragma once
#include <nvfp4/arithmetic.hpp>

namespace nvfp4::dialects {

/// Block-scale generation in CUTLASS' epilogue (LinCombBlockScaleFactor), on the device. Its norm_constant is
/// the next operand's encode scale and comes from outside; without one, 2688 / amax.
struct cutlass_epilogue {
  static constexpr Dialect info{
      .name = "cutlass_epilogue",
      .version = "7107b05535f8 (2026-08-20)",
      .source = "NVIDIA/cutlass epilogue/fusion/sm100_visitor_store_tma_warpspecialized.hpp",
      .evidence = "code; inferred: a norm_constant of its own",
      .global_is = GlobalIs::divide,
      .nan_in_block_amax = true,
  };

  template <class F>
  struct Tensor {
    F global;  ///< norm_constant
    F sixth;   ///< of it
  };

  template <class F>
  static constexpr F norm_constant(F amax) {
    return select(amax == F(0), F(1), F(2688) / amax);
  }

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F global = norm_constant(amax);
    return {global, global * rcp_approx_ftz(F(6))};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(amax * tensor.sixth);
    return {scale.code, min_nan(tensor.global * rcp_approx_ftz(scale.value), F(flt_max))};
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

/// The host reference of the same epilogue: true divisions, and -NaN becomes code 15.
struct cutlass_epilogue_host : cutlass_epilogue {
  static constexpr Dialect info{
      .name = "cutlass_epilogue_host",
      .version = cutlass_epilogue::info.version,
      .source = "NVIDIA/cutlass tools/util reference/host/gett.hpp",
      .evidence = "code; inferred: a norm_constant of its own",
      .global_is = GlobalIs::divide,
      .nan_in_block_amax = true,
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F global = norm_constant(amax);
    return {global, global * F(one_sixth)};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(amax * tensor.sixth);
    return {scale.code, min_nan(tensor.global * (F(1) / scale.value), F(flt_max))};
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>&) {
    using Code = typename F::Code;
    return e2m1_magnitude(x * encode) | select(has_sign(x), Code(8), Code(0));
  }
};

/// cuDNN's block_scale_quantize as documented: the scale of amax / 6 rounded up, elements divided by it.
struct cudnn {
  static constexpr Dialect info{
      .name = "cudnn",
      .version = "9",
      .source = "cuDNN graph API, block_scale_quantize",
      .evidence = "documented; inferred: the FP32 operations, NaN, and zero blocks, which divide by 1",
      .global_is = GlobalIs::none,
      .scale_rounding = Rounding::up,
  };

  template <class F>
  struct Tensor {};

  template <class F>
  static constexpr Tensor<F> tensor(F, const Setting&) {
    return {};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>&) {
    const auto scale = e4m3_up(amax / F(6));
    return {scale.code, select(scale.value == F(0), F(1), scale.value)};
  }

  template <class F>
  static constexpr typename F::Code element(F x, F divisor, const Tensor<F>&) {
    return e2m1_satfinite(x / divisor);
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F, const Setting&) {
    return element * scale;
  }
};

}  // namespace nvfp4::dialects
