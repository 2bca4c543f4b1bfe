#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <random>
#include <span>

#include <nvfp4/nvfp4.hpp>

#include "tests/cpu_tables.hpp"

using namespace nvfp4;

/// Products of matrices by each instruction set, whose lanes are columns, against the reference: rows and columns past
/// one tile, K past one instruction and not its multiple, every model, and what each condition of a fast path guards.
namespace {

/// Rows are of so many kinds in turn, so that each kind of a meets each kind of b.
constexpr unsigned kinds = 9;

class Rows {
 public:
  Rows(const FormatInfo& f, unsigned seed)
      : random_(seed),
        mantissa_(f.mantissa_bits),
        least_(1 - f.bias),
        most_(std::ilogb(f.max)),
        max_(f.max) {}

  Matrix matrix(std::int64_t rows, std::int64_t k) {
    Matrix x(rows, k);
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t l = 0; l < k; ++l)
        x.f32()[i * k + l] = static_cast<float>(value(static_cast<unsigned>(i) % kinds, l));
    return x;
  }

 private:
  int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  double number(int first, int last) {
    const double significand = 1 + std::ldexp(below(1 << mantissa_), -mantissa_);
    const double x = std::ldexp(significand, first + below(last - first + 1)) * (below(2) ? -1 : 1);
    const double step = std::ldexp(1, least_ - mantissa_);
    return std::ilogb(x) < least_ ? std::trunc(x / step) * step : std::clamp(x, -max_, max_);
  }
  double value(unsigned kind, std::int64_t l) {
    const int half = least_ / 2;
    switch (kind) {
      case 0: return number(least_ - mantissa_, most_);
      case 1: return number(most_ - 1, most_);
      case 2: return number(least_ - mantissa_, least_);
      case 3: return below(4) ? (below(2) ? 0.0 : -0.0) : number(least_, most_);
      case 4: return max_;                           // with itself beyond FP32
      case 5: return number(half - 4, half);         // products about the least normal number
      case 6: return l % 2 ? 1.5 : -1.5;             // with the next cancels, to every last bit
      case 7: return 2 - std::ldexp(1, -mantissa_);  // with itself the largest sum of a step
      default: return number(-2, 1);
    }
  }

  std::mt19937 random_;
  int mantissa_, least_, most_;
  double max_;
};

void put_specials(Matrix& x) {
  for (std::int64_t i = 5; i < x.rows; i += 6)
    x.f32()[i * x.cols + i % x.cols] = i % 4 == 1 ? NAN : i % 4 ? -INFINITY : INFINITY;
}

bool same(const Matrix& a, const Matrix& b) { return compare(a.view(), b.view(), "acc").equal(); }

void check_dense(const Accumulation& acc, const FormatInfo& f, std::int64_t k) {
  Matrix a = Rows(f, 1).matrix(19, k), b = Rows(f, 2).matrix(34, k);
  for (const bool special : {false, true}) {
    if (special && !f.has_infinity) continue;
    if (special) put_specials(a), put_specials(b);
    const Matrix expected = reference_kernels().multiply_dense(a.view(), b.view(), acc);
    for (const Kernels* kernels : cpu_tables()) {
      CAPTURE(acc.name);
      CAPTURE(f.name);
      CAPTURE(kernels->name);
      CHECK(same(expected, kernels->multiply_dense(a.view(), b.view(), acc)));
    }
  }
}

/// By one element format at a time, as dense operands are.
void check_formats(Accumulation acc, std::int64_t k) {
  for (const Format& element : std::span(acc.elements)) {
    acc.elements = {&element, 1};
    check_dense(acc, info(element), k);
  }
}

BlockScaledTensor scattered(std::int64_t rows, std::int64_t k, const char* dialect, unsigned seed) {
  std::mt19937 random(seed);
  Matrix x(rows, k);
  const QuantizeSpec spec = default_spec(*find_dialect(dialect));
  BlockScaledTensor t = reference_kernels().quantize(x.view(), spec, {});
  const bool e8m0 = spec.dialect->scale == Format::e8m0, bytes = info(spec.dialect->element).bits == 8;
  for (std::uint8_t& byte : t.codes) {
    byte = static_cast<std::uint8_t>(random() % 3 ? random() : 0);
    if (bytes && (byte & 0x7F) >= 0x7C) byte = 0x7E;  // no NaN
  }
  for (std::size_t n = 0; n < t.scales.size(); ++n) {
    const auto any = static_cast<unsigned>(random()),
               row = static_cast<unsigned>(n / static_cast<std::size_t>(t.blocks_per_row()));
    const unsigned code = !e8m0          ? (row % 2 ? any % 127 : 0x7E)
                          : row % 3 == 0 ? any % 255
                          : row % 3 == 1 ? 50 + any % 20
                                         : 120 + any % 16;
    t.scales[n] = static_cast<std::uint8_t>(code);
  }
  if (rows > 3) t.scales[static_cast<std::size_t>(3 * t.blocks_per_row())] = e8m0 ? 0xFF : 0x7F;
  return t;
}

void check_scaled(const BlockScaledTensor& a, const BlockScaledTensor& b, const Accumulation& acc) {
  const Matrix expected = reference_kernels().multiply(a, b, acc, {});
  for (const Kernels* kernels : cpu_tables()) {
    CAPTURE(acc.name);
    CAPTURE(a.spec.dialect->name);
    CAPTURE(kernels->name);
    CHECK(same(expected, kernels->multiply(a, b, acc, {})));
  }
}

void check_scattered(const Accumulation& acc, const char* dialect, std::int64_t k) {
  check_scaled(scattered(19, k, dialect, 1), scattered(34, k, dialect, 2), acc);
}

}  // namespace

TEST_CASE("tiles: every model of products, every kind of number, both accumulators") {
  for (const Accumulation& acc : accumulations()) {
    if (acc.sum != Summation::aligned || acc.align != Align::product || acc.scale) continue;
    check_formats(acc, 2 * acc.k + 3);
    if (acc.has_fp16) check_formats(fp16_accumulator(acc), 2 * acc.k + 3);
  }
}

TEST_CASE("tiles: scaled operands, wide scales, a NaN among them") {
  for (const char* dialect : {"mxfp8_ceil", "mxfp4_ceil"}) {
    check_scattered(*find_accumulation("sm100_mxf8f6f4"), dialect, 96);
    for (const char* model : {"exact", "fp32_in_order"})
      check_scattered(*find_accumulation(model), dialect, 96);
  }
  for (const char* model : {"sm100_nvfp4_chunk64", "exact", "fp32_in_order"})
    check_scattered(*find_accumulation(model), "te", 144);
}

TEST_CASE("tiles: sums by value of every kind of number") {
  for (const char* model : {"exact", "fp32_in_order"})
    for (const Format format : {Format::e4m3, Format::bf16, Format::fp16, Format::tf32})
      check_dense(*find_accumulation(model), info(format), 37);
}

/// A real model but for what the loops take for granted: more fraction bits than 32 bits hold, steps of other lengths,
/// other conversions, cuts and rules.
TEST_CASE("tiles: models beside those that the loops cover") {
  const auto check = [](auto change) {
    Accumulation acc = *find_accumulation("sm100_bf16");
    change(acc);
    check_formats(acc, 35);
  };
  for (const int bits : {12, 26, 30}) check([&](Accumulation& acc) { acc.fraction_bits = bits; });
  check([](Accumulation& acc) { acc.step = 2; });
  check([](Accumulation& acc) { acc.k = acc.step = 64; });
  for (const Conversion out : {Conversion::rne_fp32, Conversion::rz_e8m13})
    check([&](Accumulation& acc) { acc.out = out; });
  check([](Accumulation& acc) { acc.c_in_sum = false; });
  check([](Accumulation& acc) { acc.minus_zero = true; });
  for (const AlignRounding rounding : {AlignRounding::floor, AlignRounding::nearest_even})
    check([&](Accumulation& acc) { acc.align_rounding = rounding; });
  for (const ZeroRule rule : {ZeroRule::zero_sum, ZeroRule::never})
    check([&](Accumulation& acc) { acc.zero_rule = rule, acc.fraction_bits = 12; });
}

/// Of products up to 16, as the significands of scales make them, 16 do not fit 32 bits.
TEST_CASE("tiles: products that are aligned with the significands of their scales") {
  Accumulation acc = *find_accumulation("sm100_nvfp4");
  acc.align = Align::product, acc.group = 1, acc.k = acc.step = 16, acc.fraction_bits = 25;
  check_scattered(acc, "te", 64);
  BlockScaledTensor a = scattered(1, 64, "te", 1);
  std::ranges::fill(a.codes, std::uint8_t{0x55});   // 3
  std::ranges::fill(a.scales, std::uint8_t{0x3F});  // 15 / 8
  CHECK(reference_kernels().multiply(a, a, acc, {}).f32()[0] == 64 * 9 * 225 / 64.f);
  check_scaled(a, a, acc);
}

/// X + T + 1 - X - T: two FP64 numbers hold it while X is below 2^106, and then the second, which has T + 1, must round.
TEST_CASE("tiles: exact sums at the edge of two FP64 numbers") {
  constexpr std::int64_t k = 5;
  for (int x = 40; x < 64; ++x)
    for (int t = 0; t < 20; ++t) {
      const float big = std::ldexp(1.f, x), middle = std::ldexp(0x1.fffffep0f, t + 10);
      const std::array<float, k> a_row{big, middle, 1, -big, -middle}, b_row{big, middle, 1, big, middle};
      Matrix a(1, k), b(1, k);
      std::ranges::copy(a_row, a.f32());
      std::ranges::copy(b_row, b.f32());
      for (const Kernels* kernels : cpu_tables())
        CHECK(kernels->multiply_dense(a.view(), b.view(), *find_accumulation("exact")).f32()[0] == 1);
    }
}

/// The sum is halfway between two FP32 numbers, or FP64's last bit from it, but for what only the second FP64 number
/// shows.
TEST_CASE("tiles: exact sums a hair from a tie") {
  constexpr float even = 0x1p24f, odd = 0x1.000002p24f, next = 0x1.000004p24f, hair = 0x1p-60f,
                  ulp = 0x1p-28f;
  const std::array<float, 24> rows{even, 1, 0, hair,  even, 1, 0,    -hair, odd,  1, 0,   hair,
                                   odd,  1, 0, -hair, odd,  1, -ulp, hair,  even, 1, ulp, -hair};
  const std::array<float, 6> expected{odd, even, next, odd, odd, odd};
  Matrix a(6, 4), b(1, 4);
  std::ranges::copy(rows, a.f32());
  std::fill_n(b.f32(), 4, 1.f);
  for (const Kernels* kernels : cpu_tables()) {
    const Matrix d = kernels->multiply_dense(a.view(), b.view(), *find_accumulation("exact"));
    CHECK(std::equal(expected.begin(), expected.end(), d.f32()));
  }
}

/// The highest exponent for which a step ends below the last bit of FP32's subnormal numbers: 1.5 of it is cut to 1.
TEST_CASE("tiles: steps that end in half a subnormal unit") {
  Matrix a(1, 3), b(1, 3);
  std::ranges::copy(std::array{0x1p-62f, 0x1p-62f, 0x1.8p-74f}, a.f32());
  std::ranges::copy(std::array{0x1p-63f, -0x1p-63f, 0x1p-75f}, b.f32());
  for (const Kernels* kernels : cpu_tables())
    CHECK(kernels->multiply_dense(a.view(), b.view(), *find_accumulation("sm100_bf16")).f32()[0] ==
          0x1p-149f);
}

/// A chunk of -2^-20 takes one unit from an accumulator of 2^33, which FP64 would not show.
TEST_CASE("tiles: chunks are cut, however small") {
  const std::int64_t chunks = 20;
  BlockScaledTensor a = scattered(1, 64 * (chunks + 1), "te", 1),
                    b = scattered(2, 64 * (chunks + 1), "te", 2);
  for (BlockScaledTensor* t : {&a, &b}) {
    std::ranges::fill(t->codes, std::uint8_t{0x77});
    std::ranges::fill(t->scales, std::uint8_t{0x7E});
    for (std::int64_t i = 0; i < t->rows; ++i) {
      const auto last = t->codes.begin() + i * t->row_bytes() + 32 * chunks;
      std::fill_n(last, 32, std::uint8_t{0});
      *last = i == 0 ? 0x01 : 0x09;
      t->scales[static_cast<std::size_t>(i * t->blocks_per_row() + 4 * chunks)] = 1;
    }
  }
  const Accumulation& acc = *find_accumulation("sm100_nvfp4_chunk64");
  const Matrix expected = reference_kernels().multiply(a, b, acc, {});
  CHECK(expected.f32()[0] > 0x1p32f);
  CHECK(expected.f32()[1] == std::nextafter(expected.f32()[0], 0.f));
  check_scaled(a, b, acc);
}
