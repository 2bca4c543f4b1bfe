#pragma once
#include <nvfp4/arithmetic.hpp>

namespace nvfp4::dialects {

/// MLX on a CPU with a global scale, which is the amax. amax / 6 and x / scale are computed in the input's
/// element type; ties of elements go to zero, and what rounds to zero loses its sign.
struct mlx {
  static constexpr Dialect info{
      .name = "mlx",
      .version = "0.32.4",
      .source = "mlx mx.quantize(mode='nvfp4', global_scale=amax), CPU",
      .evidence = "golden; inferred: FP16",
      .global_is = GlobalIs::amax,
      .global_divisor = 2688,
      .nan_in_tensor_amax = true,
      .nan_in_block_amax = true,
  };

  template <class F>
  struct Tensor {
    F global;
    F encode;
    Dtype dtype;
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting& setting) {
    return {amax, F(2688) / amax, setting.dtype};
  }

  /// A NaN that this arithmetic makes has x86's sign bit and saturates to -448; one that came in, to 448.
  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    using Code = typename F::Code;
    const F t = to_dtype(amax / F(6), tensor.dtype) * tensor.encode;
    const auto scale = e4m3_satfinite(t);
    const auto came_in = is_nan(amax) | is_nan(tensor.encode);
    const F value = select(is_nan(t), select(came_in, F(448), F(-448)), scale.value);
    return {select(is_nan(t), select(came_in, Code(0x7E), Code(0xFE)), scale.code), value};
  }

  template <class F>
  static constexpr typename F::Code element(F x, F scale, const Tensor<F>& tensor) {
    return e2m1_nearest_first(to_dtype(x / scale, tensor.dtype) * tensor.encode, F(1));
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F amax, const Setting&) {
    return element * (scale * (amax / F(2688)));
  }
};

struct mlx_single_level : mlx {
  static constexpr Dialect info{
      .name = "mlx_single_level",
      .version = mlx::info.version,
      .source = "mlx mx.quantize(mode='nvfp4'), CPU",
      .evidence = "golden; inferred: FP16",
      .global_is = GlobalIs::none,
      .nan_in_tensor_amax = true,
      .nan_in_block_amax = true,
  };

  template <class F>
  static constexpr Tensor<F> tensor(F, const Setting& setting) {
    return {F(1), F(1), setting.dtype};
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F, const Setting&) {
    return element * scale;
  }
};

}  // namespace nvfp4::dialects
