#pragma once
#include <cmath>
#include <cstdint>

#include <nvfp4/hadamard.hpp>

#include "accumulate.cuh"

namespace nvfp4::gpu {

/// A group of x and a column of diag(sign) H c.
struct HadamardSumOf {
  Elements x;
  std::int64_t row, col;  ///< of the group's first element
  Along along;
  SignWords signs;
  int size, column;
  float c;

  NVFP4_HOST_DEVICE float element(int k) const {
    return along == Along::row ? x.at(row, col + k) : x.at(row + k, col);
  }
  NVFP4_HOST_DEVICE float entry(int k) const { return is_negative(signs, k, column) ? -c : c; }

  /// FP32 and FP16 numbers too are taken by their FP32 exponents.
  NVFP4_HOST_DEVICE Product product(int k) const {
    constexpr CodeFields fp32 = fp32_fields;
    const auto number = [&](float value) { return factor(std::bit_cast<std::uint32_t>(value), fp32); };
    return {number(element(k)), number(entry(k)), one, one};
  }

  /// The BF16 tensor core of sm_90 and sm_100, in steps of 16, the last of which zeros fill up.
  NVFP4_HOST_DEVICE float tensor_core() const {
    Accumulation core;
    core.fraction_bits = 25, core.zero_exponent = -133;
    std::uint64_t sum = 0;
    for (int step = 0; step < size; step += 16) {
      const auto terms = [&](int n, Specials& specials) {
        const Product p = product(step + n);
        specials.add(p.is_nan(), p.is_infinite(), p.negative());
        const auto significand = static_cast<std::int64_t>(p.significand());
        return Term{p.negative() ? -significand : significand, p.exponent() - 46, p.exponent(), p.is_zero(),
                    false};
      };
      sum = aligned_step(terms, size < 16 ? size : 16, sum, core);
    }
    return std::bit_cast<float>(static_cast<std::uint32_t>(sum));
  }

  /// What is negative and rounds to zero is -0; an exact zero is +0.
  NVFP4_HOST_DEVICE float exact() const {
    const ResultFormat t = result_format(Conversion::rne_fp32);
    Specials specials;
    WideSum sum;
    for (int k = 0; k < size; ++k) {
      const Product p = product(k);
      specials.add(p.is_nan(), p.is_infinite(), p.negative());
      if (!p.is_zero()) sum.add(p.negative(), p.significand(), p.exponent() - 46);
    }
    if (specials.any()) return std::bit_cast<float>(static_cast<std::uint32_t>(specials.code(t)));
    const WideSum::Total total = sum.total();
    const std::uint64_t code =
        magnitude_code(total.magnitude, total.unit, t) | (total.negative ? t.sign() : 0);
    return std::bit_cast<float>(static_cast<std::uint32_t>(code));
  }
};

/// One output of the integer sums.
struct HadamardOutput {
  Elements x;
  Hadamard h;
  SignWords signs;
  float c;
  void* out;

  NVFP4_HOST_DEVICE void operator()(std::int64_t row, std::int64_t col) const {
    const bool by_row = h.along == Along::row;
    const int place = static_cast<int>((by_row ? col : row) % h.size);
    const HadamardSumOf sum{
        x, by_row ? row : row - place, by_row ? col - place : col, h.along, signs, h.size, place, c};
    store(out, h.rounded ? x.dtype : Dtype::fp32, row * x.cols + col,
          h.sum == HadamardSum::tensor_core ? sum.tensor_core() : sum.exact(), Target::torch);
  }
};

/// A group of FMA chains. (+-x) c is x (+-c): the signs go to the elements, once for all outputs.
template <int size>
struct HadamardGroup {
  Elements x;
  Along along;
  bool rounded;
  SignWords signs;
  float c;
  void* out;

  /// Of element k of the group that starts there.
  NVFP4_HOST_DEVICE std::int64_t row_of(std::int64_t row, int k) const {
    return along == Along::row ? row : row + k;
  }
  NVFP4_HOST_DEVICE std::int64_t col_of(std::int64_t col, int k) const {
    return along == Along::row ? col + k : col;
  }

  NVFP4_HOST_DEVICE void operator()(std::int64_t band, std::int64_t group) const {
    const std::int64_t row = along == Along::row ? band : band * size,
                       col = along == Along::row ? group * size : group;
    float values[size];
    NVFP4_UNROLL
    for (int k = 0; k < size; ++k) {
      const float value = x.at(row_of(row, k), col_of(col, k));
      values[k] = signs[static_cast<std::size_t>(k / 32)] >> k % 32 & 1 ? -value : value;
    }
    constexpr int unrolled = size <= 32 ? size : 1;
    for (int first = 0; first < size; first += unrolled) {
      NVFP4_UNROLL
      for (int j = first; j < first + unrolled; ++j) {
        float sum = 0;
        NVFP4_UNROLL
        for (int k = 0; k < size; ++k) sum = fmaf(values[k], is_negative({}, k, j) ? -c : c, sum);
        store(out, rounded ? x.dtype : Dtype::fp32, row_of(row, j) * x.cols + col_of(col, j), sum,
              Target::torch);
      }
    }
  }
};

/// use(HadamardGroup<size>) of these transforms. Throws std::invalid_argument where validate() does.
template <class Use>
void with_hadamard_group(MatrixView x, const Hadamard& h, void* out, const Use& use) {
  validate(h, x.rows, x.cols);
  const auto try_size = [&]<int size>(HadamardGroup<size> group) {
    if (h.size != size) return;
    group = {elements(x, false), h.along, h.rounded, sign_words(h), hadamard_entry(h.size, x.dtype), out};
    use(group);
  };
  try_size(HadamardGroup<2>{}), try_size(HadamardGroup<4>{}), try_size(HadamardGroup<8>{});
  try_size(HadamardGroup<16>{}), try_size(HadamardGroup<32>{});
  try_size(HadamardGroup<64>{}), try_size(HadamardGroup<128>{});
}

/// Throws std::invalid_argument where validate() does.
inline HadamardOutput hadamard_output(MatrixView x, const Hadamard& h, void* out) {
  validate(h, x.rows, x.cols);
  return {elements(x, false), h, sign_words(h), hadamard_entry(h.size, x.dtype), out};
}

}  // namespace nvfp4::gpu
