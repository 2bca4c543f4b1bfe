#include "value_rows.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "accumulator.hpp"
#include "formats.hpp"
#include "lowest_bit.hpp"
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

}  // namespace

void ValueRows::Range::add(double value) {
  if (!std::isfinite(value)) {
    finite = false;
  } else if (value != 0) {
    lowest_bit = std::min(lowest_bit, cpu::lowest_bit(value));
    highest_bit = std::max(highest_bit, std::ilogb(value));
  }
}

ValueRows::ValueRows(const CodeRows& x, std::int64_t padded_k)
    : k(padded_k), values(static_cast<std::size_t>(x.rows * k)), ranges(static_cast<std::size_t>(x.rows)) {
  CodeRow row(x, k);
  for (std::int64_t i = 0; i < x.rows; ++i) {
    row.read(x, i);
    Range& range = ranges[static_cast<std::size_t>(i)];
    const std::vector<std::uint32_t> scale_codes(row.scales.begin(), row.scales.end());
    const std::vector<float> elements = decoded(row.codes, x.element);
    const std::vector<float> scales = x.scale ? decoded(scale_codes, x.scale) : std::vector<float>{};
    for (std::int64_t col = 0; col < k; ++col) {
      const double scale = x.scale ? scales[static_cast<std::size_t>(col / x.block)] : 1;
      const double value = elements[static_cast<std::size_t>(col)] * scale;
      values[static_cast<std::size_t>(i * k + col)] = value;
      range.add(value);
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

/// In how many bits all products of two rows lie.
int product_bits(const ValueRows::Range& a, const ValueRows::Range& b) {
  return a.highest_bit + b.highest_bit + 2 - a.lowest_bit - b.lowest_bit;
}

/// How many products FP64 can add without rounding: all their bits lie in 53.
std::int64_t exact_run(int bits) { return bits > 52 ? 1 : std::int64_t{1} << std::min(53 - bits, 20); }

std::uint32_t fp32_code(float x) { return std::isnan(x) ? 0x7FFFFFFF : std::bit_cast<std::uint32_t>(x); }

/// One addition of the chain: the product is exact in FP64 and rounded to FP32 once.
float plus_product(float sum, double a, double b) { return sum + static_cast<float>(a * b); }

}  // namespace

std::uint32_t exact_sum(const ValueRows& a, std::int64_t i, const ValueRows& b, std::int64_t j,
                        std::uint32_t c) {
  const double *x = a.row(i), *y = b.row(j);
  const ValueRows::Range &ra = a.ranges[static_cast<std::size_t>(i)],
                         &rb = b.ranges[static_cast<std::size_t>(j)];
  if (!ra.finite || !rb.finite || (c & 0x7FFFFFFF) >= 0x7F800000) return special_sum(x, y, a.k, c);
  WideSum sum;
  sum.add(std::bit_cast<float>(c));
  const std::int64_t run = exact_run(product_bits(ra, rb));
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

ValueTiles::ValueTiles(const ValueRows& a, const ValueRows& b, const Accumulation& acc)
    : a_(a), b_(b), acc_(acc), panels_(panels<double>(b.values, b.k)) {}

void ValueTiles::sum(const isa::Tiles& tiles, const Tile& at, float* out) const {
  const auto run = acc_.sum == Summation::exact    ? tiles.exact
                   : acc_.sum == Summation::chunks ? tiles.chunks
                                                   : tiles.in_order;
  run({a_.row(at.row), panels_.data() + at.column * b_.k, at.rows, a_.k, acc_.k, out});
}

/// An exact sum is kept in two FP64 numbers. With products in `bits` and sums below 2^(bits + log k), the first loses
/// less than 2^(bits + log k - 53) each time; the sum of what it lost must fit 53 bits.
bool ValueTiles::hold(std::int64_t i, std::int64_t j) const {
  if (acc_.sum == Summation::fp32_in_order) return true;
  const ValueRows::Range &a = a_.ranges[static_cast<std::size_t>(i)],
                         &b = b_.ranges[static_cast<std::size_t>(j)];
  const int log_k = std::bit_width(static_cast<std::uint64_t>(a_.k));
  const bool fits = acc_.sum != Summation::exact || product_bits(a, b) + 2 * log_k <= 106;
  return a.finite && b.finite && fits;
}

}  // namespace nvfp4::cpu
