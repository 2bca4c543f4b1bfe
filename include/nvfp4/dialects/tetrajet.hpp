#pragma once
#include <nvfp4/arithmetic.hpp>

namespace nvfp4::dialects {

/// TetraJet-v2 (arXiv 2510.27527): a scale in FP32 for 128 columns of a row, one in E4M3 for 16 of them, and none for the
/// tensor. With S_o the one and s_i the other,
///
///   S_o = (max_128 |x| / 448) / T, 1 if that is 0;   s_i = e4m3((max_16 |x| / S_o) / T), 2^-9 if its argument is 0
///   q = E2M1(x * (1 / (S_o * s_i))), or x * 0 where S_o * s_i is 0
///
/// T is 6, or 96/17: Quartet II's headroom for stochastic rounding, by which an s_i that was rounded down, by 1/17 at most,
/// still leaves no element above 6. The authors build their kernels with --use_fast_math; here each operation is IEEE's.
template <bool headroom>
struct tetrajet {
  static constexpr float target = headroom ? 96.f / 17 : 6;

  template <class F>
  struct Tensor {
    F global;  ///< S_o
  };

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    const F scale = amax / F(448) / F(target);
    return {select(scale == F(0), F(1), scale)};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const F unrounded = amax / tensor.global / F(target);
    const auto scale = e4m3_satfinite(select(unrounded == F(0), F(0x1p-9f), unrounded));
    const F product = tensor.global * scale.value;
    return {scale.code, select(product == F(0), F(0), F(1) / product)};
  }

  template <class F>
  static constexpr F scaled(F x, F encode, const Tensor<F>&) {
    return x * encode;
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>& tensor) {
    return e2m1_satfinite(scaled(x, encode, tensor));
  }

  /// Its decoder has one zero.
  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting&) {
    return (element + F(0)) * (global * scale);
  }

  static constexpr Dialect record(std::string_view name, std::string_view evidence) {
    return {.name = name,
            .version = "2510.27527",
            .source = "thu-ml/TetraJet-v2-NVFP4Training kernels/csrc/quant_fp4.cu",
            .evidence = evidence,
            .global_is = GlobalIs::multiply,
            .per_row = true,
            .stochastic = true,
            .outer_cols = 128};
  }
};

struct tetrajet_v2 : tetrajet<false> {
  static constexpr Dialect info = record("tetrajet_v2", "inferred: IEEE division, NaN alone as zeros");
};
struct tetrajet_v2_unbiased : tetrajet<true> {
  static constexpr Dialect info =
      record("tetrajet_v2_unbiased", "inferred: the 16/17 of fouroversix's Quartet II, in both divisions");
};

}  // namespace nvfp4::dialects
