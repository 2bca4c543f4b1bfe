#pragma once
#include <nvfp4/arithmetic.hpp>

namespace nvfp4::dialects {

/// auto-round's packer: vLLM's emulation with reciprocals of zero that are zero.
struct auto_round {
  static constexpr Dialect info{
      .name = "auto_round",
      .version = "0.16.1",
      .source = "auto_round data_type.nvfp.nv_fp4, export_to_autoround.qlinear_fp.QuantLinear.pack",
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
    return select(t == F(0), F(0), F(1) / t);
  }

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F global = F(2688) * reciprocal(amax);
    return {global, reciprocal(global)};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(tensor.global * (amax * F(one_sixth)));
    return {scale.code, reciprocal(scale.value * tensor.inverse)};
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>&) {
    return e2m1_by_comparison(x * encode);
  }

  /// Its qdq, in the input's element type.
  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting& setting) {
    const F encode = reciprocal(scale * reciprocal(global));
    return to_dtype(element * reciprocal(encode), setting.dtype);
  }
};

}  // namespace nvfp4::dialects
