#pragma once
#include <nvfp4/arithmetic.hpp>

namespace nvfp4::dialects {

/// The quantizer of jax.nn.scaled_dot_general as XLA runs it on a CPU: subnormals flushed, divisions by a
/// broadcast operand turned into products with its reciprocal.
struct jax {
  static constexpr Dialect info{
      .name = "jax",
      .version = "0.10.2",
      .source = "jax._src.cudnn.scaled_matmul_stablehlo.quantize, XLA:CPU",
      .evidence = "golden",
      .global_is = GlobalIs::multiply,
      .nan_in_tensor_amax = true,
      .nan_in_block_amax = true,
  };

  template <class F>
  struct Tensor {
    F global;
    F inverse;
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F global = ftz(ftz(amax) / F(2688));
    return {global, F(1) / global};
  }

  template <class F>
  static constexpr F scaled(F x, F inverse) {
    return ftz(ftz(x) * inverse);
  }

  /// max |x * inverse| is max |x| * inverse, but where the inverse is infinite: any zero in the block then
  /// makes NaN.
  template <class F, class Elements>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor, const Elements& x) {
    F largest = scaled(amax, tensor.inverse);
    if (any_nan(tensor.inverse * F(0)))
      for (int r = 0; r < x.rows; ++r)
        for (int j = 0; j < 16; ++j) {
          const F y = scaled(x(r, j), tensor.inverse);
          largest = select(is_nan(y), y, largest);
        }
    const auto scale = e4m3_satfinite(ftz(largest * F(one_sixth)));
    return {scale.code, F(1) / ftz(scale.value)};
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>& tensor) {
    using Code = typename F::Code;
    const F y = scaled(x, tensor.inverse) * encode;  // XLA flushes y too, to a zero with the same code
    const Code sign = select(has_sign(y), Code(8), Code(0));
    return select(is_nan(y), Code(8), e2m1_magnitude(y) | sign);
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting&) {
    return element * (scale * global);
  }
};

}  // namespace nvfp4::dialects
