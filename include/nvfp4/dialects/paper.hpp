#pragma once
#include <nvfp4/dialects/te.hpp>

namespace nvfp4::dialects {

/// "Pretraining Large Language Models with NVFP4" (arXiv 2509.25149), appendix B, equations 1 to 6, with
/// te's edges, on which the paper is silent. It divides the block amax by 6 before the tensor's scale
/// meets it; te folds 1/6 into that scale, and one block in eighty of some BF16 tensors tells them apart.
struct paper {
  static constexpr Dialect info{
      .name = "paper",
      .version = "2509.25149",
      .source = "arXiv 2509.25149, appendix B, eq. 1-6",
      .evidence = "inferred: edges as te",
      .global_is = GlobalIs::amax,
      .global_divisor = 2688,
  };
  static constexpr bool nan_in_amax = te::nan_in_amax;

  template <class F>
  struct Tensor {
    F encode;  ///< s_enc, eq. 1
    F decode;  ///< s_dec = 1 / s_enc
  };

  template <class F>
  static Tensor<F> tensor(F amax) {
    F encode = min_num(F(2688) / amax, F(flt_max));
    encode = select((amax == F(0)) | (encode == F(0)), F(1), encode);
    return {encode, F(1) / encode};
  }

  template <class F>
  static BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(min_num((amax / F(6)) * tensor.encode, F(flt_max)));
    return {scale.code, min_num(F(1) / (scale.value * tensor.decode), F(flt_max))};
  }

  template <class F>
  static typename F::Code element(F x, F encode) {
    return te::element(x, encode);
  }

  template <class F>
  static F dequantize(F element, F scale, F amax) {
    return element * (scale * tensor(amax).decode);
  }
};

}  // namespace nvfp4::dialects
