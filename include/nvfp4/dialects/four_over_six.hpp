#pragma once
#include <nvfp4/dialects/te.hpp>

namespace nvfp4::dialects {

/// The choice of "Four Over Six" (arXiv 2512.02010): a block's largest element becomes 6 or 4, whichever errs
/// less. A dialect D that chooses supplies
///
///   adds_halves                        the order of its sums, see row_error
///   candidate(base, tensor)            Candidate of the scale before E4M3
///   error(x, candidate, tensor)        signed error of one element
///   square(error)                      its square, in D's arithmetic
///
/// Elements x(row, col), col from 0 to 15, are +0 beyond the matrix.
struct four_over_six {
  template <class F>
  struct Candidate {
    typename F::Code code;
    F scale;   ///< the value of code
    F encode;  ///< for element()
  };

  template <class D, class F>
  static constexpr F measured(F error, Select select) {
    return select == Select::mse ? D::square(error) : abs(error);
  }

  /// The larger, or NaN where there is one.
  template <class F>
  static constexpr F larger(F a, F b) {
    return select(is_nan(b), b, max_nan(a, b));
  }

  /// A row's errors in order of column; or, where D adds halves, each with the one eight columns on first.
  template <class D, class F, class Error>
  static constexpr F row_error(const Error& error, Select how) {
    F total(0);
    if (how == Select::absmax) {
      for (int j = 0; j < 16; ++j) total = larger(total, abs(error(j)));
      return total;
    }
    if constexpr (D::adds_halves)
      for (int j = 0; j < 8; ++j)
        total = total + (measured<D>(error(j), how) + measured<D>(error(j + 8), how));
    else
      for (int j = 0; j < 16; ++j) total = total + measured<D>(error(j), how);
    return total;
  }

  /// A tile's row sums meet in halves, 8 4 2 1.
  template <class D, class F, class Tensor, class Elements>
  static constexpr F block_error(const Candidate<F>& c, const Tensor& tensor, const Elements& x) {
    const auto row = [&](int r) {
      return row_error<D, F>([&](int j) { return D::error(x(r, j), c, tensor); }, tensor.options.select);
    };
    if (x.rows == 1) return row(0);
    F sums[16] = {row(0), row(1), row(2),  row(3),  row(4),  row(5),  row(6),  row(7),
                  row(8), row(9), row(10), row(11), row(12), row(13), row(14), row(15)};
    for (int half = 8; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) sums[i] = sums[i] + sums[i + half];
    return sums[0];
  }

  template <class D, class F, class Tensor, class Elements>
  static constexpr BlockScale<F> choose(F base, const Tensor& tensor, const Elements& x) {
    return better_of<D>(D::candidate(base, tensor), D::candidate(base * F(1.5f), tensor), tensor, x);
  }

  /// 4 only if it errs strictly less.
  template <class D, class F, class Tensor, class Elements>
  static constexpr BlockScale<F> better_of(const Candidate<F>& six, const Candidate<F>& four,
                                           const Tensor& tensor, const Elements& x) {
    const auto better = block_error<D>(four, tensor, x) < block_error<D>(six, tensor, x);
    return {select(better, four.code, six.code), select(better, four.encode, six.encode)};
  }

  template <class F>
  struct Tensor {
    F global;
    F encode;   ///< S = 6 * e4m3_max / amax
    F decode;   ///< 1 / S
    F largest;  ///< 6 * e4m3_max
    FourOverSix options;
  };

  template <class F>
  static constexpr Tensor<F> of_encode(F amax, F encode, const FourOverSix& options) {
    return {amax, encode, F(1) / encode, F(6.f * static_cast<float>(options.e4m3_max)), options};
  }

  /// The error of the value q: against x, or in scaled units against x * S.
  template <class F>
  static constexpr F error_of(F q, F x, const Candidate<F>& c, const Tensor<F>& tensor) {
    if (tensor.options.error_fast) return q * c.scale - x * tensor.encode;
    return q * c.scale * tensor.global / tensor.largest - x;
  }
};

/// Transformer Engine's 4over6, with the edges of its plain dialect (te or te_ref). The block scale is the old
/// order, a true division by 6.
template <class Plain>
struct te_choice {
  static constexpr bool adds_halves = false;

  template <class F>
  using Tensor = four_over_six::Tensor<F>;
  template <class F>
  using Candidate = four_over_six::Candidate<F>;

  template <class F>
  static constexpr Tensor<F> tensor(F amax, const Setting& setting) {
    const FourOverSix& options = setting.four_over_six;
    const float numerator = 6.f * static_cast<float>(options.e4m3_max);
    return four_over_six::of_encode(amax, Plain::encode_scale(amax, numerator), options);
  }

  template <class F>
  static constexpr Candidate<F> candidate(F base, const Tensor<F>& tensor) {
    const auto scale = e4m3_satfinite(base);
    return {scale.code, scale.value, Plain::block_encode(scale.value, tensor.decode)};
  }

  template <class F>
  static constexpr F square(F error) {
    return error * error;
  }

  template <class F>
  static constexpr F error(F x, const Candidate<F>& c, const Tensor<F>& tensor) {
    return four_over_six::error_of(F::e2m1_value(element(x, c.encode, tensor)), x, c, tensor);
  }

  template <class F, class Elements>
  static constexpr BlockScale<F> block(F amax, const Tensor<F>& tensor, const Elements& x) {
    return four_over_six::choose<te_choice>(amax / F(6) * tensor.encode, tensor, x);
  }

  template <class F>
  static constexpr typename F::Code element(F x, F encode, const Tensor<F>&) {
    return Plain::rounded(x * encode);
  }
};

/// Its kernels.
struct te_4over6 : te_choice<te> {
  static constexpr Dialect info{
      .name = "te_4over6",
      .version = te::info.version,
      .source = "NVIDIA/TransformerEngine common/cast/nvfp4/quantize_4over6_nvfp4.cuh",
      .evidence = "code",
      .global_is = GlobalIs::amax,
      .global_divisor = 2688,
      .four_over_six = true,
      .tensor_core_rht = true,
  };

  /// One constant serves both bounds: FP32(1/2688) or FP32(1/1536).
  template <class F>
  static constexpr F dequantize(F element, F scale, F amax, const Setting& setting) {
    constexpr float one_over_1536 = 0x1.555556p-11f;
    return element *
           ((scale * amax) * F(setting.four_over_six.e4m3_max == 448 ? one_over_2688 : one_over_1536));
  }
};

}  // namespace nvfp4::dialects
