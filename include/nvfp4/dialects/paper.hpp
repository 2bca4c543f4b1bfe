#pragma once
#include <nvfp4/dialects/te.hpp>

namespace nvfp4::dialects {

/// "Pretraining Large Language Models with NVFP4" (arXiv 2509.25149), appendix B, equations 1 to 6, with
/// te's edges, on which the paper is silent. It divides the block amax by 6 before the tensor's scale
/// meets it; te folds 1/6 into that scale, and one block in eighty of some BF16 tensors tells them apart.
struct paper : te {
  static constexpr Dialect info{
      .name = "paper",
      .version = "2509.25149",
      .source = "arXiv 2509.25149, appendix B, eq. 1-6",
      .evidence = "inferred: edges as te",
      .global_is = GlobalIs::amax,
      .global_divisor = 2688,
      .stochastic = true,
  };

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(min_num((amax / F(6)) * tensor.encode, F(flt_max)));
    return {scale.code, block_encode(scale.value, tensor.decode)};
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F amax, const Setting& setting) {
    return element * (scale * tensor(amax, setting).decode);
  }
};

}  // namespace nvfp4::dialects
