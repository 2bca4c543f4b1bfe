#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "tests/cpu_tables.hpp"

using namespace nvfp4;

/// The transform by formula and by every layer. The producer's own columns are in golden_test.cpp (te_ref_1d_rht).
namespace {

/// A group of 16 numbers as a BF16 row; they must be BF16 numbers.
Matrix bf16_row(const std::vector<float>& values) {
  Matrix x(1, 16, Dtype::bf16);
  for (std::size_t i = 0; i < values.size(); ++i)
    x.u16()[i] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(values[i]) >> 16);
  return x;
}

float bf16(std::uint16_t code) { return std::bit_cast<float>(std::uint32_t{code} << 16); }

constexpr Hadamard every_kind[] = {{Signs::none, HadamardSum::fma_chain},
                                   {Signs::te, HadamardSum::fma_chain},
                                   {Signs::none, HadamardSum::tensor_core},
                                   {Signs::te, HadamardSum::tensor_core},
                                   {Signs::te, HadamardSum::tensor_core, false}};

/// The first output of a tensor-core sum without signs: (x0 + ... + x15) / 4.
float first_sum(const std::vector<float>& values) {
  const Matrix y =
      reference_kernels().hadamard(bf16_row(values).view(), {Signs::none, HadamardSum::tensor_core});
  return bf16(y.u16()[0]);
}

/// Every size with every vector of signs that it has.
std::vector<Hadamard> every_matrix() {
  std::vector<Hadamard> all;
  for (const int size : {2, 4, 8, 16, 32, 64, 128})
    for (const Signs signs : {Signs::none, Signs::seed, Signs::te})
      if (signs != Signs::te || size == 16) all.push_back({.signs = signs, .size = size, .seed = 5});
  return all;
}

/// Exact sums of many products are slow.
bool is_worth(const Hadamard& h, std::string_view pack) {
  return h.size == 16 || pack == "subnormals" || (pack == "nonfinite" && h.size < 128);
}

/// The top left corner.
Matrix corner(const Matrix& x, std::int64_t rows, std::int64_t cols) {
  Matrix part(rows, cols, x.dtype);
  const std::size_t each = size_of(x.dtype), row = static_cast<std::size_t>(cols) * each;
  for (std::int64_t i = 0; i < rows; ++i)
    std::copy_n(x.bytes.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(i * x.cols) * each),
                row, part.bytes.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(i) * row));
  return part;
}

void check_layers(const Matrix& x, const Hadamard& h) {
  CAPTURE(h.size);
  CAPTURE(name(h.signs));
  CAPTURE(static_cast<int>(h.sum));
  CAPTURE(static_cast<int>(h.along));
  const Matrix expected = reference_kernels().hadamard(x.view(), h);
  for (const Kernels* kernels : cpu_tables()) {
    CAPTURE(kernels->name);
    const Difference d = compare(expected.view(), kernels->hadamard(x.view(), h).view(), "transformed");
    CHECK_MESSAGE(d.equal(), describe(*d.first));
  }
}

constexpr HadamardSum every_sum[] = {HadamardSum::fma_chain, HadamardSum::tensor_core, HadamardSum::exact};

}  // namespace

TEST_CASE("hadamard: every layer as the reference on every case and element type" *
          doctest::test_suite("sweep")) {
  std::int64_t compared = 0;
  for (const Dtype dtype : {Dtype::fp32, Dtype::bf16, Dtype::fp16})
    for (const std::string_view pack : case_packs())
      for (const Case& c : make_cases(pack, dtype, 3))
        for (Hadamard h : every_matrix())
          for (const Along along : {Along::row, Along::tokens}) {
            h.along = along;
            const auto whole = [&](std::int64_t length) {
              return std::min<std::int64_t>(length / h.size * h.size, std::max(16, h.size));
            };
            const bool by_row = along == Along::row;
            const std::int64_t rows = by_row ? 1 : whole(c.input.rows),
                               cols = by_row ? whole(c.input.cols) : std::min<std::int64_t>(c.input.cols, 2);
            if (rows == 0 || cols == 0 || !is_worth(h, pack)) continue;
            CAPTURE(c.name);
            CAPTURE(name(dtype));
            for (const HadamardSum sum : every_sum)
              h.sum = sum, check_layers(corner(c.input, rows, cols), h), ++compared;
          }
  CHECK(compared > 1000);
}

TEST_CASE("hadamard: a sum that is kept is the one that was rounded") {
  const Case c = make_cases("random", Dtype::bf16, 3)[0];
  const Matrix sums = cpu_kernels().hadamard(c.input.view(), {Signs::te, HadamardSum::tensor_core, false});
  const Matrix rounded = cpu_kernels().hadamard(c.input.view(), {Signs::te, HadamardSum::tensor_core});
  REQUIRE(sums.dtype == Dtype::fp32);
  int moved = 0;
  for (std::int64_t i = 0; i < sums.rows * sums.cols; ++i) {
    std::uint32_t code;
    reference_kernels().encode({sums.f32() + i, 1}, {.format = Format::bf16}, {&code, 1});
    CHECK(code == rounded.u16()[i]);
    moved += bf16(rounded.u16()[i]) != sums.f32()[i];
  }
  CHECK(moved > 0);
}

TEST_CASE("hadamard: te's fused fast math quantizes the unrounded sums under the amax of the rounded") {
  const Dialect& dialect = dialects::te_rht_fused_fast_math::info;
  const Producer producer{.name = "", .spec = default_spec(dialect), .rht = 16};
  const Case c = make_cases("random", Dtype::bf16, 3)[0];
  const Matrix sums = cpu_kernels().hadamard(c.input.view(), {Signs::te, HadamardSum::tensor_core, false});
  const Matrix rounded = cpu_kernels().hadamard(c.input.view(), {Signs::te, HadamardSum::tensor_core});
  QuantizeSpec spec = default_spec(dialect);
  spec.amax = reference_kernels().amax(rounded.view(), dialect);
  for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()}) {
    const BlockScaledTensor made = quantize(producer, c.input.view(), *kernels).rows;
    CHECK(compare(reference_kernels().quantize(sums.view(), spec, {}), made).equal());
    CHECK_FALSE(compare(reference_kernels().quantize(rounded.view(), spec, {}), made).equal());
  }
}

TEST_CASE("hadamard: a unit vector gives its row of the matrix, with its sign") {
  for (int k = 0; k < 16; ++k) {
    std::vector<float> unit(16);
    unit[static_cast<std::size_t>(k)] = 1;
    for (const Hadamard& h : every_kind) {
      const Matrix y = reference_kernels().hadamard(bf16_row(unit).view(), h);
      if (!h.rounded) continue;
      for (int j = 0; j < 16; ++j) {
        const bool sign = h.signs == Signs::te && (0xD7E8 >> k & 1);
        const bool odd = __builtin_popcount(static_cast<unsigned>(k & j)) % 2 == 1;
        CHECK(bf16(y.u16()[j]) == (sign != odd ? -0.25f : 0.25f));
      }
    }
  }
}

TEST_CASE("hadamard: twice without signs is the identity where nothing rounds") {
  Matrix x(4, 32);
  for (int i = 0; i < 128; ++i) x.f32()[i] = static_cast<float>(i * 37 % 101 - 50);
  for (const HadamardSum sum : {HadamardSum::fma_chain, HadamardSum::tensor_core}) {
    const Matrix once = cpu_kernels().hadamard(x.view(), {Signs::none, sum});
    CHECK(compare(x.view(), cpu_kernels().hadamard(once.view(), {Signs::none, sum}).view(), "x").equal());
  }
}

/// 2^24 + 2^-1 - 2^24: the middle term lies 25 bits below the largest and is kept; at 26 bits it is cut, although the
/// exact sum has it. Another count of fraction bits moves one of the two.
TEST_CASE("hadamard: the tensor core keeps 25 bits below the largest exponent, and truncates") {
  CHECK(first_sum({0x1p24f, 0x1p-1f, -0x1p24f}) == 0x1p-3f);
  CHECK(first_sum({0x1p24f, 0x1p-2f, -0x1p24f}) == 0);
  CHECK(first_sum({0x1p24f, -0x1.8p-1f, -0x1p24f}) == -0x1p-3f);  // the magnitude is cut, not its floor taken
}

TEST_CASE("hadamard: NaN, infinities and shapes") {
  for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()}) {
    const Matrix y =
        kernels->hadamard(bf16_row({INFINITY, -INFINITY}).view(), {.sum = HadamardSum::tensor_core});
    for (int j = 0; j < 16; ++j) CHECK((y.u16()[j] == 0x7FC0 || std::isinf(bf16(y.u16()[j]))));
    const auto refused = [&](const Hadamard& h) {
      CHECK_THROWS_AS(kernels->hadamard(Matrix(20, 20).view(), h), std::invalid_argument);
    };
    refused({});
    refused({.along = Along::tokens});
    refused({.signs = Signs::te, .size = 4});
    for (const int size : {-2, 0, 1, 3, 5, 10, 20, 256}) refused({.signs = Signs::none, .size = size});
  }
}

TEST_CASE("hadamard: the entry of every size is the nearest number to 1 / sqrt(size)") {
  for (const int size : {2, 4, 8, 16, 32, 64, 128})
    for (const Dtype dtype : {Dtype::fp32, Dtype::bf16, Dtype::fp16}) {
      const long double exact = 1 / std::sqrt(static_cast<long double>(size));
      const float c = hadamard_entry(size, dtype);
      const int bits = dtype == Dtype::fp32 ? 24 : dtype == Dtype::bf16 ? 8 : 11;
      const long double ulp = std::ldexp(1.0L, std::ilogb(c) + 1 - bits);
      CAPTURE(size);
      CHECK(std::fabs(c - exact) <= ulp / 2);
      CHECK(std::fmod(static_cast<long double>(c), ulp) == 0);
    }
}

/// Bit k of the four words in order, of a counter that is the stream alone and a key that is the seed alone.
TEST_CASE("hadamard: drawn signs are the bits of one draw") {
  const auto words = philox4x32({0, 0, 0x6D617264, 0x68616461}, {0x9ABCDEF0, 0x12345678});
  const Hadamard h{.signs = Signs::seed, .size = 128, .seed = 0x123456789ABCDEF0};
  int minuses = 0;
  for (int k = 0; k < 128; ++k) {
    const bool minus = words[static_cast<std::size_t>(k / 32)] >> k % 32 & 1;
    CHECK(is_negative(sign_words(h), k, 0) == minus);
    minuses += minus;
  }
  CHECK(minuses > 32);
  CHECK(minuses < 96);
  CHECK((sign_words({.signs = Signs::seed, .seed = 1}) != sign_words({.signs = Signs::seed, .seed = 2})));
}

TEST_CASE("hadamard: along tokens is along the rows of the transpose") {
  for (const Dtype dtype : {Dtype::fp32, Dtype::bf16, Dtype::fp16})
    for (Hadamard h : every_matrix()) {
      Matrix x(h.size, 5, dtype);
      std::copy_n(make_cases("random", dtype, 3)[0].input.bytes.begin(), x.bytes.size(), x.bytes.begin());
      for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()}) {
        h.along = Along::row;
        const Matrix turned = kernels->hadamard(transpose(x.view()).view(), h);
        h.along = Along::tokens;
        const Matrix direct = kernels->hadamard(x.view(), h);
        CHECK(compare(transpose(turned.view()).view(), direct.view(), "x").equal());
      }
    }
}

/// The rows of the identity become the rows of D H; their products are exact in FP32 for entries of powers of two.
TEST_CASE("hadamard: H H^T is the identity, exactly, for 4, 16 and 64") {
  for (const int size : {4, 16, 64})
    for (const Signs signs : {Signs::none, Signs::seed}) {
      Matrix identity(size, size);
      for (int i = 0; i < size; ++i) identity.f32()[i * size + i] = 1;
      const Hadamard h{.signs = signs, .sum = HadamardSum::exact, .size = size, .seed = 11};
      const Matrix matrix = reference_kernels().hadamard(identity.view(), h);
      for (int i = 0; i < size; ++i)
        for (int j = 0; j < size; ++j) {
          float dot = 0;
          for (int k = 0; k < size; ++k) dot += matrix.f32()[i * size + k] * matrix.f32()[j * size + k];
          CHECK(dot == (i == j ? 1 : 0));
        }
    }
}

/// What makes the transform of both operands of a wgrad invisible in its product.
TEST_CASE("hadamard: (D^T H) (H^T X) is D^T X, exactly, on small integers") {
  for (const Hadamard& kind : every_matrix()) {
    if (hadamard_entry(kind.size, Dtype::fp32) != hadamard_entry(kind.size, Dtype::bf16)) continue;
    Hadamard h = kind;
    h.along = Along::tokens;
    Matrix d(h.size, 3), x(h.size, 2);
    for (int i = 0; i < 3 * h.size; ++i) d.f32()[i] = static_cast<float>(i * 29 % 17 - 8);
    for (int i = 0; i < 2 * h.size; ++i) x.f32()[i] = static_cast<float>(i * 23 % 13 - 6);
    const Matrix hd = cpu_kernels().hadamard(d.view(), h), hx = cpu_kernels().hadamard(x.view(), h);
    const auto product = [&](const Matrix& a, const Matrix& b, int i, int j) {
      float sum = 0;
      for (int k = 0; k < h.size; ++k) sum += a.f32()[k * 3 + i] * b.f32()[k * 2 + j];
      return sum;
    };
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 2; ++j) CHECK(product(hd, hx, i, j) == product(d, x, i, j));
  }
}

/// A mean that all tokens share is what RHT makes worse: twice its size with te's signs, four times without.
TEST_CASE("hadamard: a constant over 16 tokens") {
  constexpr float te_row[16] = {-1, 0, 1, 0, 1, 0, -1, 0, 1, 2, 1, 0, 1, 0, 1, -2};
  constexpr float c = 0.75f;
  const Matrix x = bf16_row(std::vector<float>(16, c));
  for (const HadamardSum sum : every_sum) {
    const Matrix te = cpu_kernels().hadamard(x.view(), {.signs = Signs::te, .sum = sum}),
                 none = cpu_kernels().hadamard(x.view(), {.signs = Signs::none, .sum = sum});
    for (int j = 0; j < 16; ++j) {
      CHECK(bf16(te.u16()[j]) == c * te_row[j]);
      CHECK(bf16(none.u16()[j]) == (j == 0 ? 4 * c : 0));
    }
  }
}

/// |y| <= sqrt(size) max |x|, and the input that has an output's own signs reaches it.
TEST_CASE("hadamard: the worst input of every size reaches sqrt(size) max |x|") {
  for (const Hadamard& kind : every_matrix()) {
    if (hadamard_entry(kind.size, Dtype::fp32) != hadamard_entry(kind.size, Dtype::bf16)) continue;
    Hadamard h = kind;
    h.sum = HadamardSum::exact;
    const int j = h.size / 2 + 1;
    Matrix x(1, h.size);
    for (int k = 0; k < h.size; ++k) x.f32()[k] = is_negative(sign_words(h), k, j) ? -3 : 3;
    const Matrix y = cpu_kernels().hadamard(x.view(), h);
    for (int i = 0; i < h.size; ++i)
      CHECK(y.f32()[i] == (i == j ? 3 * std::sqrt(static_cast<float>(h.size)) : 0));
  }
}

/// The tensor core in x86's 64-bit significands: what is below 2^(top - 25) is cut off each term, whose sum then has
/// 33 bits and is exact. nextafter makes the conversion one towards zero.
float by_long_double(const std::vector<float>& x, const Hadamard& h, Dtype dtype, int j) {
  const float c = hadamard_entry(h.size, dtype);
  long double so_far = 0;
  for (std::size_t first = 0; first < x.size(); first += 16) {
    std::vector<long double> terms = {so_far};
    int top = so_far == 0 ? -133 : std::max(std::ilogb(static_cast<float>(so_far)), -126);
    for (std::size_t k = first; k < std::min(x.size(), first + 16); ++k) {
      if (x[k] != 0) top = std::max(top, std::max(std::ilogb(x[k]), -126) + std::ilogb(c));
      const bool minus = is_negative(sign_words(h), static_cast<int>(k), j);
      terms.push_back(static_cast<long double>(x[k]) * (minus ? -c : c));
    }
    long double sum = 0;
    for (const long double term : terms) sum += std::trunc(std::ldexp(term, 25 - top));
    sum = std::ldexp(sum, top - 25);
    auto narrow = static_cast<float>(sum);
    if (std::fabs(static_cast<long double>(narrow)) > std::fabs(sum)) narrow = std::nextafterf(narrow, 0);
    so_far = narrow == 0 ? 0 : narrow;
  }
  return static_cast<float>(so_far);
}

TEST_CASE("hadamard: the tensor core's chain as long doubles have it" *
          doctest::skip(std::numeric_limits<long double>::digits < 64)) {
  std::uint32_t state = 1;
  const auto random = [&](std::uint32_t below) {
    return ((state = state * 1664525 + 1013904223) >> 8) % below;
  };
  for (Hadamard h : every_matrix())
    for (const Dtype dtype : {Dtype::bf16, Dtype::fp32}) {
      h.sum = HadamardSum::tensor_core;
      h.rounded = false;
      for (int trial = 0; trial < 12; ++trial) {
        const auto size = static_cast<std::size_t>(h.size);
        std::vector<float> values(size);
        Matrix x(1, h.size, dtype);
        const std::uint32_t lowest = trial % 4 == 0 ? 0 : 100 + random(20), spread = 1 + random(40);
        for (std::size_t k = 0; k < size; ++k) {
          const std::uint32_t mask = dtype == Dtype::bf16 ? 0x807F0000 : 0x807FFFFF;
          const std::uint32_t pattern = (random(1u << 24) << 8 & mask) | (lowest + random(spread)) << 23;
          values[k] = std::bit_cast<float>(random(8) == 0 ? pattern & 0x80000000 : pattern);
          if (dtype == Dtype::fp32)
            x.f32()[k] = values[k];
          else
            x.u16()[k] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(values[k]) >> 16);
        }
        const Matrix expected = reference_kernels().hadamard(x.view(), h),
                     fast = cpu_kernels().hadamard(x.view(), h);
        for (int j = 0; j < h.size; ++j) {
          CHECK(expected.f32()[j] == by_long_double(values, h, dtype, j));
          CHECK(fast.f32()[j] == expected.f32()[j]);
        }
      }
    }
}

/// In a chain the sum so far is aligned like a product: 2^24 of the first step and -2^24 of the second meet, and what
/// stands 25 bits below either is kept, one bit lower cut.
TEST_CASE("hadamard: a chain's sum so far takes part in the alignment") {
  const auto first = [](float small) {
    std::vector<float> values(64);
    values[0] = 0x1p24f, values[16] = small, values[32] = -0x1p24f;
    Matrix x(1, 64);
    std::copy(values.begin(), values.end(), x.f32());
    const Hadamard h{.signs = Signs::none, .sum = HadamardSum::tensor_core, .rounded = false, .size = 64};
    return reference_kernels().hadamard(x.view(), h).f32()[0];
  };
  CHECK(first(2) == 0.25f);           // 2^24 + 2 is an FP32 number
  CHECK(first(1) == 0);               // of 2^24 + 1 the sum's own truncation leaves 2^24
  CHECK(first(-0x1p-1f) == -0.125f);  // 2^24 - 0.5 is cut to the FP32 number below it, 2^24 - 1
}

/// Whole strips of columns and a ragged one, in ranges of binades that cut and round terms, and beyond the kernels':
/// what FP32's normal range does not hold, Inf and NaN.
TEST_CASE("hadamard: the kernels of size 16 as the reference") {
  struct Range {
    std::uint32_t lowest, spread, special_every;
  };
  constexpr Range ranges[] = {{120, 6, 0}, {100, 26, 0}, {90, 60, 0},
                              {0, 60, 0},  {200, 55, 0}, {120, 30, 200}};
  for (const Range& range : ranges)
    for (const Dtype dtype : {Dtype::fp32, Dtype::bf16}) {
      Matrix x(32, 80, dtype);
      for (std::int64_t i = 0; i < x.rows * x.cols; ++i) {
        const auto w = philox4x32({static_cast<std::uint32_t>(i), range.lowest, range.spread, 0}, {3, 3});
        std::uint32_t bits = (w[0] & 0x807FFFFF) | (range.lowest + w[1] % range.spread) << 23;
        if (range.special_every && w[2] % range.special_every == 0)
          bits = w[3] % 3 ? bits | 0x7F800000 : bits & 0x80000000;
        if (dtype == Dtype::fp32)
          x.f32()[i] = std::bit_cast<float>(bits);
        else
          x.u16()[i] = static_cast<std::uint16_t>(bits >> 16);
      }
      CAPTURE(range.lowest);
      CAPTURE(range.spread);
      for (const HadamardSum sum : {HadamardSum::fma_chain, HadamardSum::tensor_core})
        for (const Along along : {Along::row, Along::tokens})
          for (const bool rounded : {true, false})
            check_layers(x, {.sum = sum, .rounded = rounded, .along = along});
    }
}

/// The transform's own step and the accumulation model of products were written apart: a product with the matrix.
TEST_CASE("hadamard: a tensor core's transform is its matrix product") {
  for (const int size : {16, 32, 128}) {
    const Hadamard h{
        .signs = Signs::seed, .sum = HadamardSum::tensor_core, .rounded = false, .size = size, .seed = 3};
    Matrix matrix(size, size, Dtype::bf16);  // row j has the factors of output j
    for (int j = 0; j < size; ++j)
      for (int k = 0; k < size; ++k) {
        const float entry =
            hadamard_entry(size, Dtype::bf16) * (is_negative(sign_words(h), k, j) ? -1.f : 1.f);
        matrix.u16()[j * size + k] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(entry) >> 16);
      }
    Matrix x(64, size, Dtype::bf16);
    for (std::int64_t i = 0; i < x.rows * x.cols; ++i) {  // over thirty binades, so that steps cut bits
      const std::uint32_t r = philox4x32({static_cast<std::uint32_t>(i)}, {})[0];
      x.u16()[i] = static_cast<std::uint16_t>((r & 0x807F) | (112 + (r >> 16) % 30) << 7);
    }
    for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()}) {
      const Matrix product =
          kernels->multiply_dense(x.view(), matrix.view(), *find_accumulation("sm90_bf16"));
      CHECK(kernels->hadamard(x.view(), h).bytes == product.bytes);
    }
  }
}
