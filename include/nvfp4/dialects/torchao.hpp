#pragma once
#include <nvfp4/arithmetic.hpp>

namespace nvfp4::dialects {

/// torchao: reciprocals multiply, the sign bit is always kept, and block scales are never below the smallest
/// normal E4M3, 2^-6.
struct torchao {
  static constexpr Dialect info{
      .name = "torchao",
      .version = "0.18.0",
      .source = "torchao NVFP4Tensor.to_nvfp4 with per_tensor_amax_to_scale",
      .evidence = "golden",
      .global_is = GlobalIs::multiply,
      .nan_in_tensor_amax = true,
      .nan_in_block_amax = true,
      .nan_codes_vary = true,
  };

  template <class F>
  struct Tensor {
    F global;
    F inverse;
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F global = amax / F(2688);
    return {global, F(1) / global};
  }

  template <class F>
  static constexpr auto scale_of(F t) {
    return e4m3_satfinite(max_nan(t, F(0x1p-6f)));
  }

  /// The NaN that arithmetic makes has x86's sign bit; one that came in has none. An encode of NaN keeps which.
  template <class F>
  static constexpr F marked(F encode, F amax, F global) {
    const F made = select(is_nan(amax) | is_nan(global), F(__builtin_nanf("")), F(-__builtin_nanf("")));
    return select(is_nan(encode), made, encode);
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = scale_of(amax / F(6) / tensor.global);
    return {scale.code, marked(tensor.inverse / scale.value, amax, tensor.global)};
  }

  /// Its rounding has no rule for NaN and rounds the payload: 4 for what has been through E4M3, 3 for the default
  /// one of 0 * Inf, with their signs.
  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>&) {
    using Code = typename F::Code;
    const F y = x * encode;
    const Code sign = select(has_sign(x), Code(8), Code(0));
    const Code made = select(is_nan(encode), select(has_sign(encode), Code(12), Code(4)), Code(11));
    return select(is_nan(y), select(is_nan(x), Code(4), made), e2m1_magnitude(y) | sign);
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting&) {
    return element * (global * scale);
  }
};

struct torchao_single_level : torchao {
  static constexpr Dialect info{
      .name = "torchao_single_level",
      .version = torchao::info.version,
      .source = "torchao NVFP4Tensor.to_nvfp4(per_tensor_scale=None)",
      .evidence = "golden",
      .global_is = GlobalIs::none,
      .nan_in_tensor_amax = true,
      .nan_in_block_amax = true,
      .nan_codes_vary = true,
  };

  template <class F>
  static constexpr Tensor<F> tensor(F, const Setting&) {
    return {F(1), F(1)};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>&) {
    const auto scale = scale_of(amax / F(6));
    return {scale.code, marked(F(1) / scale.value, amax, F(1))};
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F, const Setting&) {
    return element * scale;
  }
};

}  // namespace nvfp4::dialects
