#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <random>
#include <stdexcept>
#include <vector>

#include <boost/multiprecision/cpp_int.hpp>
#include <nvfp4/io.hpp>
#include <nvfp4/nvfp4.hpp>

#include "tests/cpu_tables.hpp"
#include "tests/program.hpp"

using namespace nvfp4;
using boost::multiprecision::cpp_int;
using boost::multiprecision::cpp_rational;

/// Dialect tetrajet_v2 and its products, by an oracle of rationals that knows no primitive of the library.
namespace {

cpp_rational power(int exponent) {
  const cpp_int p = cpp_int(1) << std::abs(exponent);
  return exponent < 0 ? cpp_rational(cpp_int(1), p) : cpp_rational(p);
}

cpp_rational exact(float x) {
  int exponent = 0;
  const auto significand = static_cast<std::int64_t>(std::ldexp(std::frexp(x, &exponent), 24));
  return cpp_rational(significand) * power(exponent - 24);
}

/// The nearest value of the codes from `first` to `last`, which ascend; ties to the even code.
template <class Value>
std::uint32_t rounded(const cpp_rational& x, std::uint32_t first, std::uint32_t last, Value value) {
  std::uint32_t code = first;
  while (code < last && value(code + 1) <= x) ++code;
  if (code == last) return last;
  const cpp_rational down = x - value(code), up = value(code + 1) - x;
  return down < up || (down == up && code % 2 == 0) ? code : code + 1;
}

/// Subnormals and the sign kept. The search begins near binary64's guess.
float fp32(const cpp_rational& x) {
  const auto value = [](std::uint32_t bits) { return exact(std::bit_cast<float>(bits)); };
  const cpp_rational magnitude = x < 0 ? cpp_rational(-x) : x;
  const auto guess = std::bit_cast<std::uint32_t>(static_cast<float>(magnitude.convert_to<double>()));
  const std::uint32_t code = rounded(magnitude, guess - std::min(guess, 2U), 0x7F7FFFFF, value);
  const float result = std::bit_cast<float>(code);
  return x < 0 ? -result : result;
}

cpp_rational e4m3(std::uint32_t code) {
  const int exponent = static_cast<int>(code >> 3), fraction = static_cast<int>(code & 7);
  return exponent ? cpp_rational(8 + fraction) * power(exponent - 10) : cpp_rational(fraction) * power(-9);
}

constexpr int doubled[] = {0, 1, 2, 3, 4, 6, 8, 12};
cpp_rational e2m1(std::uint32_t code) { return cpp_rational(doubled[code & 7], 2) * (code & 8 ? -1 : 1); }

float times(float a, float b) { return fp32(exact(a) * exact(b)); }
float over(float a, float b) { return fp32(exact(a) / exact(b)); }

/// What the definition makes of finite numbers.
struct Expected {
  std::vector<std::uint32_t> codes, scales;  ///< one an element, one a block
  std::vector<float> global, values;
};

float largest(const float* x, std::int64_t count) {
  float m = 0;
  for (std::int64_t i = 0; i < count; ++i) m = std::max(m, std::fabs(x[i]));
  return m;
}

std::uint32_t code_of(float x, float product) {
  const std::uint32_t sign = std::signbit(x) ? 8 : 0;
  if (product == 0) return sign;
  if (product <= 0x1p-128f) return x == 0 ? 7 : 7 | sign;  // 1 / product is infinite, and 0 times that a NaN
  return rounded(exact(std::fabs(times(x, over(1, product)))), 0, 7, e2m1) | sign;
}

void add_block(const float* x, std::int64_t count, float outer, float target, Expected& e) {
  float t = over(over(largest(x, count), outer), target);
  if (t == 0) t = 0x1p-9f;
  const std::uint32_t scale = rounded(exact(t), 0, 0x7E, e4m3);
  const float product = fp32(exact(outer) * e4m3(scale));
  e.scales.push_back(scale);
  for (std::int64_t j = 0; j < count; ++j) {
    e.codes.push_back(code_of(x[j], product));
    e.values.push_back(fp32(e2m1(e.codes.back()) * exact(product)));
  }
}

Expected expected(const Matrix& x, float target) {
  Expected e;
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t first = 0; first < x.cols; first += 128) {
      const float* row = x.f32() + i * x.cols + first;
      const std::int64_t count = std::min<std::int64_t>(128, x.cols - first);
      float outer = over(over(largest(row, count), 448), target);
      if (outer == 0) outer = 1;
      e.global.push_back(outer);
      for (std::int64_t j = 0; j < count; j += 16)
        add_block(row + j, std::min<std::int64_t>(16, count - j), outer, target, e);
    }
  return e;
}

void check(const Expected& e, const BlockScaledTensor& t, const Matrix& values) {
  CHECK(t.global == e.global);
  bool scales = t.scales.size() == e.scales.size(), codes = true, decoded = true;
  for (std::size_t i = 0; scales && i < e.scales.size(); ++i) scales = t.scales[i] == e.scales[i];
  for (std::int64_t i = 0; i < t.rows; ++i)
    for (std::int64_t j = 0; j < t.cols; ++j) {
      const auto at = static_cast<std::size_t>(i * t.cols + j);
      const std::uint32_t byte = t.codes[static_cast<std::size_t>(i * t.row_bytes() + j / 2)];
      codes = codes && (byte >> (j % 2 * 4) & 15) == e.codes[at];
      decoded = decoded && values.f32()[at] == e.values[at] &&
                !(values.f32()[at] == 0 && std::signbit(values.f32()[at]));
    }
  CHECK(scales);
  CHECK(codes);
  CHECK(decoded);
}

/// Numbers over many binades, with blocks, and 128 columns, of zeros, and numbers that no scale can hold.
Matrix numbers(std::int64_t rows, std::int64_t cols, unsigned seed, int binades) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Matrix x(rows, cols);
  for (std::int64_t i = 0; i < rows * cols; ++i) {
    const auto block = static_cast<unsigned>(i / 16) * 2654435761U >> 20;
    const bool zeros = block % 11 == 0 || i / 128 % 7 == 3;
    x.f32()[i] =
        zeros ? 0 : std::ldexp(normal(random), static_cast<int>(block) % (2 * binades + 1) - binades);
  }
  return x;
}

Matrix tiny(std::int64_t cols) {
  Matrix x(6, cols);
  for (std::int64_t i = 0; i < 6 * cols; ++i)
    x.f32()[i] = std::bit_cast<float>(static_cast<std::uint32_t>(i * i % 977 * (i / cols)));
  return x;
}

QuantizeSpec spec(const Dialect& dialect = dialects::tetrajet_v2::info) { return default_spec(dialect); }

BlockScaledTensor quantized(const Matrix& x) { return reference_kernels().quantize(x.view(), spec(), {}); }

}  // namespace

TEST_CASE("tetrajet_v2: codes, both scales and decoded values are the definition's, on every layer") {
  std::vector<const Kernels*> tables = cpu_tables();
  tables.push_back(&reference_kernels());
  for (const Matrix& x : {numbers(5, 300, 1, 3), numbers(3, 128, 2, 30), numbers(2, 17, 3, 1),
                          numbers(1, 1000, 4, 12), tiny(150)})
    for (const bool headroom : {false, true}) {
      const Dialect& dialect = headroom ? dialects::tetrajet_v2_unbiased::info : dialects::tetrajet_v2::info;
      const Expected e = expected(x, headroom ? fp32(cpp_rational(96, 17)) : 6);
      for (const Kernels* k : tables) {
        const BlockScaledTensor t = k->quantize(x.view(), spec(dialect), {});
        check(e, t, k->dequantize(t));
      }
    }
}

TEST_CASE("tetrajet_v2: each 128 columns are a tensor of their own, at random too") {
  const Matrix x = numbers(4, 300, 5, 6);
  for (const Kernels* k : cpu_tables())
    for (const bool random : {false, true}) {
      QuantizeSpec whole = spec();
      if (random) whole.stochastic = Stochastic{.random = {.seed = 3}};
      const BlockScaledTensor t = k->quantize(x.view(), whole, {});
      for (const std::int64_t first : {0, 128, 256}) {
        const std::int64_t count = std::min<std::int64_t>(128, 300 - first);
        Matrix part(4, count);
        for (std::int64_t i = 0; i < 4; ++i)
          std::copy_n(x.f32() + i * 300 + first, count, part.f32() + i * count);
        QuantizeSpec shard = whole;
        if (random) shard.stochastic->random.col = first;
        const BlockScaledTensor p = k->quantize(part.view(), shard, {});
        for (std::int64_t i = 0; i < 4; ++i) {
          CHECK(t.global_at(i, first) == p.global[static_cast<std::size_t>(i)]);
          CHECK(std::equal(p.codes.begin() + i * p.row_bytes(), p.codes.begin() + (i + 1) * p.row_bytes(),
                           t.codes.begin() + i * t.row_bytes() + first / 2));
          CHECK(std::equal(p.scales.begin() + i * p.blocks_per_row(),
                           p.scales.begin() + (i + 1) * p.blocks_per_row(),
                           t.scales.begin() + i * t.blocks_per_row() + first / 16));
        }
      }
    }
}

/// Blocks of one number m each, beside one of 1: the mean over all 256 random bytes is m where y = m / scale stays below 6,
/// up to a byte's 1/256 of a step.
TEST_CASE("tetrajet_v2: the largest elements of blocks are biased at random, with headroom they are not") {
  const auto worst_mean = [](const Dialect& dialect) {
    double worst = 0;
    for (int n = 0; n < 64; ++n) {
      const float m = 0.25f + static_cast<float>(n) / 128;
      Matrix x(1, 32);
      x.f32()[0] = 1, x.f32()[16] = m;
      double sum = 0;
      for (std::uint32_t byte = 0; byte < 256; ++byte) {
        const std::vector<std::uint32_t> words(8, byte * 0x01010101U);
        QuantizeSpec s = spec(dialect);
        s.stochastic = Stochastic{.from_caller = true, .words = words};
        const BlockScaledTensor t = cpu_kernels().quantize(x.view(), s, {});
        sum += cpu_kernels().dequantize(t).f32()[16];
      }
      worst = std::max(worst, std::fabs(sum / 256 - m) / m);
    }
    return worst;
  };
  CHECK(worst_mean(dialects::tetrajet_v2::info) > 0.04);                    // 1/17 at most
  CHECK(worst_mean(dialects::tetrajet_v2_unbiased::info) <= 2. / 256 / 4);  // a step of 2 from 4 on
}

TEST_CASE("gemm: with scales of 128 columns each part of K is scaled and added, in order") {
  const Matrix x = numbers(5, 300, 7, 2), w = numbers(6, 300, 8, 2);
  const BlockScaledTensor a = quantized(x), b = quantized(w);
  const auto element = [](const BlockScaledTensor& t, std::int64_t i, std::int64_t k) {
    const std::uint32_t byte = t.codes[static_cast<std::size_t>(i * t.row_bytes() + k / 2)];
    return cpp_rational(e2m1(byte >> (k % 2 * 4) & 15) *
                        e4m3(t.scales[static_cast<std::size_t>(i * t.blocks_per_row() + k / 16)]));
  };
  for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()}) {
    const OutputScaling scaling = output_scaling(a, b);
    CHECK_FALSE(scaling.includes_globals);
    const Matrix y = gemm(a, b, *find_accumulation("exact"), {.scaling = scaling}, *kernels);
    const Matrix bare = gemm(a, b, *find_accumulation("exact"), {}, *kernels);
    for (std::int64_t i = 0; i < 5; ++i)
      for (std::int64_t j = 0; j < 6; ++j) {
        float sum = 0;
        cpp_rational whole = 0;
        for (std::int64_t first = 0; first < 300; first += 128) {
          cpp_rational part = 0;
          for (std::int64_t k = first; k < std::min<std::int64_t>(300, first + 128); ++k)
            part += element(a, i, k) * element(b, j, k);
          whole += part;
          const float y_p = times(times(fp32(part), a.global_at(i, first)), b.global_at(j, first));
          sum = first ? fp32(exact(sum) + exact(y_p)) : y_p;
        }
        CHECK(y.f32()[i * 6 + j] == sum);
        CHECK(bare.f32()[i * 6 + j] == fp32(whole));
      }
  }
}

TEST_CASE("gemm: with scales of 128 columns, layers and threads agree, and other operands are refused") {
  const Matrix x = numbers(9, 400, 9, 4), w = numbers(7, 400, 10, 4);
  const BlockScaledTensor a = quantized(x), b = quantized(w),
                          te = reference_kernels().quantize(x.view(), {}, {});
  const Accumulation& acc = *find_accumulation("sm100_nvfp4");
  const GemmSpec how{.scaling = output_scaling(a, b)};
  const Matrix y = gemm(a, b, acc, how, reference_kernels());
  for (const Kernels* k : cpu_tables()) CHECK(gemm(a, b, acc, how, *k).bytes == y.bytes);
  CHECK_THROWS_WITH_AS(
      output_scaling(a, te),
      "expected two operands with scales of as many columns of a row: found tetrajet_v2 with 128 and "
      "te with none",
      std::invalid_argument);
  CHECK_THROWS_AS(output_scaling(te, a), std::invalid_argument);
  CHECK_THROWS_AS(output_scaling(a), std::invalid_argument);
  CHECK_THROWS_WITH_AS(gemm(a, b, acc, {.scaling = how.scaling, .cuts = {128}}, cpu_kernels()),
                       "K is cut once: where its scales change, each 128 columns", std::invalid_argument);
  CHECK_THROWS_AS(gemm(a, b, acc, {.scaling = {.rows = {1}, .cols = {1}, .part = 128}}, cpu_kernels()),
                  std::invalid_argument);
  CHECK_THROWS_AS(bound_rows(a, acc), std::invalid_argument);
  CHECK_THROWS_AS(product_bound({}, 1, spec(), 1, 400, acc), std::invalid_argument);
  QuantizeSpec whole = spec();
  whole.tensor_scale = TensorScale::tensor;
  CHECK_THROWS_WITH_AS(validate(whole),
                       "tetrajet_v2 has a scale for each 128 columns of a row: tensor scale row",
                       std::invalid_argument);
}

TEST_CASE("cli: tetrajet_v2 files have a scale for each 128 columns, and every command takes them") {
  const scratch::Folder folder;
  const Matrix x = numbers(12, 300, 11, 3);
  const BlockScaledTensor t = quantized(x);
  io::write_matrix(folder / "x.npy", x.view(), io::Overwrite::no);
  const std::string q = folder / "q.npz";
  using program::run;
  REQUIRE(run({"quantize", folder / "x.npy", "-o", q, "--dialect", "tetrajet_v2"}).exit_code == 0);
  const auto file = io::open_arrays(q);
  CHECK(file->info("global").shape == std::vector<std::int64_t>{12, 3});
  const io::QuantizedFile read = io::read_quantized(*file);
  CHECK(compare(t, read.rows).equal());
  CHECK(io::manifest_json(read).find("\"global_block_cols\":128") != std::string::npos);

  REQUIRE(run({"dequantize", q, "-o", folder / "d.npy"}).exit_code == 0);
  CHECK(io::load_matrix(folder / "d.npy").bytes == reference_kernels().dequantize(t).bytes);
  REQUIRE(run({"gemm", q, q, "-o", folder / "y.npy"}).exit_code == 0);
  const Matrix y =
      gemm(t, t, *find_accumulation("sm100_nvfp4"), {.scaling = output_scaling(t, t)}, cpu_kernels());
  CHECK(io::load_matrix(folder / "y.npy").bytes == y.bytes);
  CHECK(run({"diff", q, q}).exit_code == 0);
  CHECK(run({"inspect", q}).exit_code == 0);
  CHECK(program::json({"identify", "--input", folder / "x.npy", "--packed", q})["matches"][0]["dialect"] ==
        "tetrajet_v2");
  REQUIRE(run({"golden", "make", "-o", folder / "g.npz", "--dialect", "tetrajet_v2", "--kind", "quantize"})
              .exit_code == 0);
  CHECK(run({"golden", "check", folder / "g.npz"}).exit_code == 0);

  REQUIRE(run({"quantize", folder / "x.npy", "-o", folder / "te.npz"}).exit_code == 0);
  CHECK(program::refusal({"gemm", q, folder / "te.npz", "-o", folder / "no.npy"}).find("te with none") !=
        std::string::npos);
  CHECK(program::refusal({"gemm", q, q, "-o", folder / "no.npy", "--bound"}).find("bounds are of products") !=
        std::string::npos);
}
