#pragma once
#include <nvfp4/arithmetic.hpp>

namespace nvfp4::dialects {

constexpr Dialect quartet2_record(std::string_view name, std::string_view source, std::string_view evidence) {
  return {.name = name,
          .version = "8776a90b (2026-02-20)",
          .source = source,
          .evidence = evidence,
          .global_is = GlobalIs::multiply,
          .nan_in_tensor_amax = true};
}

/// The forward quantizer of Quartet II (arXiv 2601.22813), kernel rtn_fp4: te's block scale by approximate reciprocals.
/// A block whose scale rounds to zero is stored so, and its elements are divided by the tensor scale alone.
struct quartet2 {
  static constexpr Dialect info =
      quartet2_record("quartet2", "IST-DASLab/Quartet-II kernels/csrc/round_four_six.cu",
                      "code; inferred: NaN, which its kernel leaves unset");

  template <class F>
  struct Tensor {
    F global;
  };

  template <class F>
  static constexpr Tensor<F> of_amax(F amax, float one_over_e4m3_max) {
    return {select(amax == F(0), F(1), amax * F(one_over_e4m3_max) * F(one_sixth))};
  }

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    return of_amax(amax, 1.f / 448);
  }

  template <class F>
  struct Candidate {
    typename F::Code code;
    F value;  ///< of the code
    F encode;
  };

  template <class F>
  static constexpr Candidate<F> candidate(F wanted, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(wanted * rcp_approx_ftz(tensor.global));
    const F divisor = select(scale.value == F(0), F(1), scale.value);
    return {scale.code, scale.value, rcp_approx_ftz(divisor * tensor.global)};
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    const auto six = candidate(amax * F(one_sixth), tensor);
    return {six.code, six.encode};
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>&) {
    return e2m1_satfinite(x * encode);
  }

  template <class F>
  static constexpr F dequantize(F element, F scale, F global, const Setting&) {
    return element * scale * global;
  }
};

/// The same with four over six, its default (kernel four_six_fp4): a block's largest element becomes 4 only where that
/// has the smaller sum of squared errors.
struct quartet2_4over6 : quartet2 {
  static constexpr Dialect info =
      quartet2_record("quartet2_4over6", quartet2::info.source,
                      "code; inferred: errors that are no numbers, which its kernel leaves unset: then 6");

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    return of_amax(amax, 1.f / 256);
  }

  /// Of eight columns of a row: even ones and odd ones in chains of their own.
  template <class F, class Elements>
  static constexpr F squares(const Elements& x, int row, int first, F encode, F decode) {
    F sum[2] = {F(0), F(0)};
    for (int j = 0; j < 8; ++j) {
      const F value = x(row, first + j), element = F::e2m1_value(e2m1_satfinite(value * encode));
      const F error = multiply_add(element, F(0) - decode, value);
      sum[j % 2] = multiply_add(error, error, sum[j % 2]);
    }
    return sum[0] + sum[1];
  }

  /// A tile's rows add up in order; its kernel has none.
  template <class F, class Elements>
  static constexpr F error(const Candidate<F>& c, const Tensor<F>& tensor, const Elements& x) {
    const F decode = c.value * tensor.global;
    F sum(0);
    for (int row = 0; row < x.rows; ++row)
      sum = sum + (squares(x, row, 0, c.encode, decode) + squares(x, row, 8, c.encode, decode));
    return sum;
  }

  template <class F, class Elements>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor, const Elements& x) {
    const auto six = candidate(amax * F(one_sixth), tensor), four = candidate(amax * F(0.25f), tensor);
    const auto better = error(four, tensor, x) < error(six, tensor, x);
    return {select(better, four.code, six.code), select(better, four.encode, six.encode)};
  }
};

/// What MS-EDEN (arXiv 2601.22813) rounds to nearest before it corrects the scales (Kernels::quantize_eden), kernel
/// eden_fp4: a block's largest element is aimed at c = 6 / (17/16 * 0.93) = 6.07, so that some are cut at 6, and the
/// largest scale at 256, which leaves room for corrections. A block whose scale rounds to zero has scale 1.
struct quartet2_eden : quartet2 {
  static constexpr float aim = 6.f / static_cast<float>(17. / 16 * 0.93), largest_scale = 255.99f;

  static constexpr Dialect info = [] {
    Dialect d =
        quartet2_record("quartet2_eden", "IST-DASLab/Quartet-II kernels/csrc/round_eden_fp4.cu", "code");
    d.tensor_core_rht = true;
    return d;
  }();

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting&) {
    return {select(amax == F(0), F(1), amax / F(largest_scale) / F(aim))};
  }

  /// What elements of a block are multiplied by.
  template <class F>
  static constexpr F block_encode(F scale, F global) {
    return F(1) / (scale * global);
  }

  template <class F>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor) {
    using Code = typename F::Code;
    const auto scale = e4m3_satfinite(amax / F(aim) / tensor.global);
    const auto zero = scale.value == F(0);
    return {select(zero, Code(0x38), scale.code),
            block_encode(select(zero, F(1), scale.value), tensor.global)};
  }

  /// <y, y> and <y, q> of scaled elements y and what they are rounded to.
  template <class F>
  struct Products {
    F yy, yq;
  };

  /// Of a block: even columns and odd ones in chains of their own, as in kernels/csrc/rht128_requant.cu.
  template <class F, class Elements>
  static constexpr Products<F> products(const Elements& x, F encode) {
    F yy[2] = {F(0), F(0)}, yq[2] = {F(0), F(0)};
    for (int j = 0; j < 16; ++j) {
      const F y = x(0, j) * encode, q = F::e2m1_value(e2m1_satfinite(y));
      yy[j % 2] = multiply_add(y, y, yy[j % 2]);
      yq[j % 2] = multiply_add(y, q, yq[j % 2]);
    }
    return {yy[0] + yy[1], yq[0] + yq[1]};
  }

  /// S = <y, y> / <y, q>, the factor by which q is too short along y; 1 where all of q is zero.
  template <class F>
  static constexpr F correction(const Products<F>& p) {
    return select(p.yq == F(0), F(1), p.yy / p.yq);
  }
};

}  // namespace nvfp4::dialects
