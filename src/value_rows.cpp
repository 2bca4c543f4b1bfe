#include "value_rows.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "accumulator.hpp"
#include "formats.hpp"
#include "wide_sum.hpp"

namespace nvfp4::cpu {
namespace {

std::vector<float> decoded(std::span<const std::uint32_t> codes, std::optional<Format> format) {
  std::vector<float> values(codes.size());
  if (format)
    decode(codes, *format, values);
  else
    std::ranges::transform(codes, values.begin(), [](std::uint32_t c) { return std::bit_cast<float>(c); });
  return values;
}

/// The place of the lowest bit that is set; x finite and nonzero.
int lowest_bit_of(double x) {
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const std::uint64_t significand = (bits & 0xFFFFFFFFFFFFF) | 0x10000000000000;
  return static_cast<int>(bits >> 52 & 0x7FF) - 1075 + std::countr_zero(significand);
}

}  // namespace

ValueRows::ValueRows(const CodeRows& x, std::int64_t padded_k)
    : k(padded_k),
      values(static_cast<std::size_t>(x.rows * k)),
      finite(static_cast<std::size_t>(x.rows), true) {
  lowest_bit = 1024, highest_bit = -1024;
  CodeRow row(x, k);
  for (std::int64_t i = 0; i < x.rows; ++i) {
    row.read(x, i);
    const std::vector<std::uint32_t> scale_codes(row.scales.begin(), row.scales.end());
    const std::vector<float> elements = decoded(row.codes, x.element);
    const std::vector<float> scales = x.scale ? decoded(scale_codes, x.scale) : std::vector<float>{};
    for (std::int64_t col = 0; col < k; ++col) {
      const double scale = x.scale ? scales[static_cast<std::size_t>(col / x.block)] : 1;
      const double value = elements[static_cast<std::size_t>(col)] * scale;
      values[static_cast<std::size_t>(i * k + col)] = value;
      if (!std::isfinite(value)) finite[static_cast<std::size_t>(i)] = false;
      if (value == 0 || !std::isfinite(value)) continue;
      lowest_bit = std::min(lowest_bit, lowest_bit_of(value));
      highest_bit = std::max(highest_bit, std::ilogb(value));
    }
  }
}

namespace {

constexpr Target nearest = target(Conversion::rne_fp32);

/// What NaNs and infinities among the products of k in [first, first + n) and C make of the sum.
std::uint32_t special_sum(const double* a, const double* b, std::int64_t n, std::uint32_t c) {
  Specials specials;
  specials.add(c, nearest);
  for (std::int64_t l = 0; l < n; ++l) {
    const double product = a[l] * b[l];
    if (std::isnan(product)) specials.nan = true;
    if (std::isinf(product)) specials.add_infinity(product < 0);
  }
  return specials.code(nearest);
}

bool is_special(const double* a, const double* b, std::int64_t n, std::uint32_t c) {
  const auto finite = [n](const double* x) {
    return std::all_of(x, x + n, [](double v) { return std::isfinite(v); });
  };
  return !finite(a) || !finite(b) || (c & 0x7FFFFFFF) >= 0x7F800000;
}

/// How many products FP64 can add without rounding: all their bits lie in 53.
std::int64_t exact_run(const ValueRows& a, const ValueRows& b) {
  const int bits = a.highest_bit + b.highest_bit + 2 - a.lowest_bit - b.lowest_bit;
  return bits > 52 ? 1 : std::int64_t{1} << std::min(53 - bits, 20);
}

std::uint32_t fp32_code(float x) { return std::isnan(x) ? 0x7FFFFFFF : std::bit_cast<std::uint32_t>(x); }

/// One addition of the chain: the product is exact in FP64 and rounded to FP32 once.
float plus_product(float sum, double a, double b) { return sum + static_cast<float>(a * b); }

}  // namespace

std::uint32_t exact_sum(const ValueRows& a, std::int64_t i, const ValueRows& b, std::int64_t j,
                        std::uint32_t c) {
  const double *x = a.row(i), *y = b.row(j);
  const bool finite = a.finite[static_cast<std::size_t>(i)] && b.finite[static_cast<std::size_t>(j)];
  if (!finite || (c & 0x7FFFFFFF) >= 0x7F800000) return special_sum(x, y, a.k, c);
  WideSum sum;
  sum.add(std::bit_cast<float>(c));
  const std::int64_t run = exact_run(a, b);
  for (std::int64_t first = 0; first < a.k; first += run) {
    double part = 0;
    for (std::int64_t l = first; l < std::min(a.k, first + run); ++l) part += x[l] * y[l];
    sum.add(part);
  }
  return sum.to_fp32();
}

std::uint32_t add_chunk(const ValueRows& a, std::int64_t i, const ValueRows& b, std::int64_t j,
                        std::int64_t first, std::int64_t n, std::uint32_t c) {
  const double *x = a.row(i) + first, *y = b.row(j) + first;
  if (is_special(x, y, n, c)) return special_sum(x, y, n, c);
  double sum = 0;  // multiples of 2^-20 below 2^29: exact
  for (std::int64_t l = 0; l < n; ++l) sum += x[l] * y[l];
  return add(c, std::bit_cast<std::uint32_t>(static_cast<float>(sum)), target(Conversion::rz_fp32));
}

std::uint32_t add_in_order(const ValueRows& a, std::int64_t i, const ValueRows& b, std::int64_t j,
                           std::int64_t k, std::uint32_t c) {
  return fp32_code(plus_product(std::bit_cast<float>(c), a.row(i)[k], b.row(j)[k]));
}

void fp32_chains(const ValueRows& a, std::int64_t i, const ValueRows& b, std::int64_t first, std::int64_t n,
                 float* out) {
  constexpr std::int64_t most = 8;
  const double* x = a.row(i);
  for (std::int64_t j = 0; j < n; j += most) {
    std::array<const double*, most> y;
    for (std::int64_t l = 0; l < most; ++l)
      y[static_cast<std::size_t>(l)] = b.row(first + std::min(j + l, n - 1));
    std::array<float, most> sum{};
    for (std::int64_t k = 0; k < a.k; ++k)
      for (std::size_t l = 0; l < most; ++l) sum[l] = plus_product(sum[l], x[k], y[l][k]);
    for (std::int64_t l = 0; l < std::min(most, n - j); ++l)
      out[j + l] = std::bit_cast<float>(fp32_code(sum[static_cast<std::size_t>(l)]));
  }
}

}  // namespace nvfp4::cpu
