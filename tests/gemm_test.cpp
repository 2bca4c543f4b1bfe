#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "tests/cpu_tables.hpp"
#include "tests/gaussian.hpp"

using namespace nvfp4;

/// A product with all that a GEMM does beside it: cuts of K, second-level scales, bias, beta * C.
namespace {

/// Each 16 numbers in a row in a binade of their own, some of them zero.
Matrix wide(std::int64_t rows, std::int64_t cols, unsigned seed, unsigned binades = 40) {
  std::mt19937 random(seed);
  Matrix x(rows, cols);
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0, binade = 0; j < cols; ++j) {
      if (j % 16 == 0) binade = random() % 8 ? -31 - static_cast<int>(random() % binades) : -1000;
      x.f32()[i * cols + j] =
          std::ldexp(static_cast<float>(static_cast<std::int32_t>(random())), static_cast<int>(binade));
    }
  return x;
}

/// Integers from -6 to 6 that E2M1 holds, a 6 in each block: block scales are 1 under a tensor amax of 2688.
Matrix integers(std::int64_t rows, std::int64_t cols, unsigned seed) {
  constexpr float some[] = {0, 1, 2, 3, 4, 6, -1, -2, -3, -4, -6};
  std::mt19937 random(seed);
  Matrix x(rows, cols);
  for (std::int64_t i = 0; i < rows * cols; ++i)
    x.f32()[i] = i % cols % 16 == 0 ? 6 : some[random() % std::size(some)];
  return x;
}

BlockScaledTensor quantized(const Matrix& x, const Dialect& dialect = dialects::te::info,
                            TensorScale scale = TensorScale::tensor) {
  QuantizeSpec spec = default_spec(dialect);
  spec.tensor_scale = scale;
  return reference_kernels().quantize(x.view(), spec, {});
}

const Accumulation& named(std::string_view name) { return *find_accumulation(name); }

/// Bias and C beside a product of a and b, of numbers as large as it, with a NaN, infinities and zeros of both signs.
GemmSpec full_spec(const BlockScaledTensor& a, const BlockScaledTensor& b, unsigned seed) {
  GemmSpec spec{.scaling = output_scaling(a, b), .c = gaussian::matrix(a.rows, b.rows, seed), .beta = -0.3f};
  const Matrix bias = gaussian::matrix(1, b.rows, seed + 1);
  spec.bias.assign(bias.f32(), bias.f32() + b.rows);
  const float odd[] = {NAN, INFINITY, -INFINITY, -0.f, 0x1p-149f, 3e38f};
  for (std::size_t i = 0; i < std::size(odd); ++i) spec.c.f32()[i * 3] = odd[i];
  spec.bias[1] = INFINITY, spec.bias[2] = -0.f;
  return spec;
}

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }
float gpu_nan(float x) { return std::isnan(x) ? std::bit_cast<float>(0x7FFFFFFFu) : x; }

/// One code an element, and the scales, of columns [first, last).
struct Range {
  std::vector<std::uint64_t> codes;
  std::vector<std::uint8_t> scales;

  Range(const BlockScaledTensor& t, std::int64_t first, std::int64_t last) {
    const int block = t.spec.block.cols;
    for (std::int64_t i = 0; i < t.rows; ++i)
      for (std::int64_t k = first; k < last; ++k) {
        codes.push_back(t.codes[static_cast<std::size_t>(i * t.row_bytes() + k / 2)] >> (k % 2 * 4) & 15);
        if (k % block == 0)
          scales.push_back(t.scales[static_cast<std::size_t>(i * t.blocks_per_row() + k / block)]);
      }
  }
};

/// The sum of the accumulators of ranges of K, by single matrix instructions and plain float additions.
std::vector<float> summed_ranges(const BlockScaledTensor& a, const BlockScaledTensor& b,
                                 const Accumulation& acc, std::vector<std::int64_t> cuts) {
  cuts.insert(cuts.begin(), 0);
  cuts.push_back(a.cols);
  std::vector<float> sum;
  for (std::size_t r = 0; r + 1 < cuts.size(); ++r) {
    const Range x(a, cuts[r], cuts[r + 1]), y(b, cuts[r], cuts[r + 1]);
    const std::vector<std::uint64_t> zeros(static_cast<std::size_t>(a.rows * b.rows));
    MmaOperands operands{.rows = a.rows, .cols = b.rows, .k = cuts[r + 1] - cuts[r]};
    operands.scale = a.spec.dialect->scale, operands.block = a.spec.block.cols;
    operands.a = x.codes, operands.b = y.codes, operands.c = zeros;
    operands.a_scales = x.scales, operands.b_scales = y.scales;
    const auto codes = reference_kernels().mma(operands, acc, false);
    sum.resize(codes.size());
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const float partial = std::bit_cast<float>(static_cast<std::uint32_t>(codes[i]));
      sum[i] = r == 0 ? partial : gpu_nan(sum[i] + partial);
    }
  }
  return sum;
}

bool same(const Matrix& actual, const std::vector<float>& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (bits(actual.f32()[i]) != bits(expected[i])) return false;
  return static_cast<std::size_t>(actual.rows * actual.cols) == expected.size();
}

template <class Act>
std::string thrown(Act act) {
  try {
    act();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("gemm: every layer agrees on every option, of operands with wide scales and a ragged K") {
  using namespace dialects;
  struct Of {
    const Dialect* dialect;
    TensorScale a, b;
    std::vector<const char*> models;
  };
  constexpr auto tensor = TensorScale::tensor, row = TensorScale::row;
  const Of all[] = {
      {&te::info, tensor, tensor, {"sm100_nvfp4", "exact", "fp32_in_order", "sm100_nvfp4_chunk64"}},
      {&te::info, row, tensor, {"sm100_nvfp4", "sm103_nvfp4_k96"}},
      {&te::info, row, row, {"sm120_nvfp4"}},
      {&cutlass_epilogue::info, tensor, tensor, {"sm100_nvfp4"}},
      {&mxfp4_ceil::info, tensor, tensor, {"sm100_mxfp4", "exact"}},
      {&mxfp8_floor::info, tensor, tensor, {"sm100_mxf8f6f4", "fp32_in_order"}}};
  unsigned seed = 0;
  for (const Of& of : all)
    for (const char* model : of.models) {
      CAPTURE(of.dialect->name);
      CAPTURE(model);
      Matrix x = wide(5, 232, ++seed), y = wide(11, 232, ++seed);
      if (of.a == tensor) x.f32()[232 + 3] = NAN, y.f32()[5] = INFINITY;
      const auto a = quantized(x, *of.dialect, of.a), b = quantized(y, *of.dialect, of.b);
      GemmSpec spec = full_spec(a, b, ++seed);
      for (const std::int64_t parts : {1, 2, 3, 50}) {
        spec.cuts = split_k(a, named(model), parts);
        const Matrix expected = gemm(a, b, named(model), spec, reference_kernels());
        for (const Kernels* kernels : cpu_tables())
          CHECK((gemm(a, b, named(model), spec, *kernels).bytes == expected.bytes));
      }
    }
}

TEST_CASE("gemm: scales, then bias, then beta * C, each operation rounded by itself") {
  const auto a = quantized(wide(7, 100, 1, 4), dialects::te::info, TensorScale::row),
             b = quantized(wide(9, 100, 2, 4));
  const GemmSpec spec = full_spec(a, b, 3);
  const OutputScaling& s = spec.scaling;
  const Matrix acc = reference_kernels().multiply(a, b, named("sm100_nvfp4"), {});
  std::vector<float> expected;
  int differs = 0, fused = 0;
  for (std::size_t i = 0; i < 7; ++i)
    for (std::size_t j = 0; j < 9; ++j) {
      const float c = spec.c.f32()[i * 9 + j], y = acc.f32()[i * 9 + j] * s.alpha * s.rows[i];
      const float product = spec.beta * c, biased = y + spec.bias[j];
      expected.push_back(gpu_nan(biased + product));
      differs += bits(expected.back()) != bits(gpu_nan((y + product) + spec.bias[j]));
      fused += bits(expected.back()) != bits(gpu_nan(std::fma(spec.beta, c, biased)));
    }
  for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()})
    CHECK(same(gemm(a, b, named("sm100_nvfp4"), spec, *kernels), expected));
  CHECK(differs > 0);
  CHECK(fused > 0);
}

TEST_CASE("gemm: without options it is the scaled product, and beta without C is nothing") {
  const auto a = quantized(wide(3, 80, 1)), b = quantized(wide(4, 80, 2));
  const GemmSpec spec{.scaling = output_scaling(a, b), .beta = NAN};
  const Matrix product = cpu_kernels().multiply(a, b, named("sm100_nvfp4"), {});
  CHECK((gemm(a, b, named("sm100_nvfp4"), {}, cpu_kernels()).bytes == product.bytes));
  CHECK((gemm(a, b, named("sm100_nvfp4"), spec, cpu_kernels()).bytes ==
         cpu_kernels().scale_output(product, spec.scaling).bytes));
}

TEST_CASE("gemm: a beta of 0 still reads C") {
  const auto a = quantized(wide(2, 32, 1)), b = quantized(wide(2, 32, 2));
  GemmSpec spec{.c = Matrix(2, 2), .beta = 0};
  spec.c.f32()[1] = INFINITY;
  for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()})
    CHECK(bits(gemm(a, b, named("exact"), spec, *kernels).f32()[1]) == 0x7FFFFFFF);
}

TEST_CASE("gemm: split-K of numbers whose sums are exact is the whole product") {
  QuantizeSpec unit{.amax = 2688.f};
  const Matrix x = integers(6, 520, 1), y = integers(5, 520, 2);
  const auto a = reference_kernels().quantize(x.view(), unit, {}),
             b = reference_kernels().quantize(y.view(), unit, {});
  std::vector<float> expected;
  for (std::int64_t i = 0; i < 6; ++i)
    for (std::int64_t j = 0; j < 5; ++j) {
      float sum = 0;
      for (std::int64_t k = 0; k < 520; ++k) sum += x.f32()[i * 520 + k] * y.f32()[j * 520 + k];
      expected.push_back(sum);
    }
  for (const char* model : {"sm100_nvfp4", "exact", "sm103_nvfp4_k96"})
    for (const std::int64_t parts : {1, 2, 3, 8, 9, 1000}) {
      const GemmSpec spec{.cuts = split_k(a, named(model), parts)};
      CHECK(same(gemm(a, b, named(model), spec, cpu_kernels()), expected));
    }
}

TEST_CASE("gemm: partial accumulators are added in FP32 in ascending order") {
  const auto a = quantized(wide(8, 520, 1, 12)), b = quantized(wide(8, 520, 2, 12));
  const Accumulation& acc = named("sm100_nvfp4");
  const Matrix whole = gemm(a, b, acc, {}, cpu_kernels());
  const std::vector<std::int64_t> by_tiles = {64, 192, 448}, by_blocks = {16, 80, 512};
  for (const auto& cuts : {by_tiles, by_blocks, split_k(a, acc, 4), split_k(a, acc, 9)}) {
    const std::vector<float> expected = summed_ranges(a, b, acc, cuts);
    CHECK_FALSE(same(whole, expected));
    for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()})
      CHECK(same(gemm(a, b, acc, {.cuts = cuts}, *kernels), expected));
  }
  CHECK(same(whole, summed_ranges(a, b, acc, {})));
}

TEST_CASE("gemm: split-K cuts at whole instructions and blocks, the last range takes what is left") {
  using Cuts = std::vector<std::int64_t>;
  const auto a = quantized(wide(1, 520, 1)), mx = quantized(wide(1, 520, 1), dialects::mxfp4_ceil::info);
  CHECK(split_k(a, named("sm100_nvfp4"), 1) == Cuts{});
  CHECK(split_k(a, named("sm100_nvfp4"), 2) == Cuts{320});
  CHECK(split_k(a, named("sm100_nvfp4"), 4) == Cuts{192, 384});
  CHECK(split_k(a, named("sm100_nvfp4"), 9) == Cuts{64, 128, 192, 256, 320, 384, 448, 512});
  for (const std::int64_t parts : {std::int64_t{1000}, std::numeric_limits<std::int64_t>::max()})
    CHECK(split_k(a, named("sm100_nvfp4"), parts) == split_k(a, named("sm100_nvfp4"), 9));
  CHECK(split_k(a, named("sm103_nvfp4_k96"), 3) == Cuts{192, 384});
  CHECK(split_k(a, named("exact"), 3) == Cuts{176, 352});
  CHECK(split_k(mx, named("fp32_in_order"), 2) == Cuts{288});
  CHECK(thrown([&] { split_k(a, named("exact"), 0); }).find("1 part or more") != std::string::npos);
}

TEST_CASE("gemm: each dialect's own accumulation") {
  using namespace dialects;
  CHECK(default_accumulation(te::info).name == "sm100_nvfp4");
  CHECK(default_accumulation(mxfp4_floor::info).name == "sm100_mxfp4");
  CHECK(default_accumulation(mxfp8_ceil::info).name == "sm100_mxf8f6f4");
}

TEST_CASE("gemm: refusals") {
  const auto a = quantized(wide(3, 80, 1)), b = quantized(wide(4, 80, 2));
  const auto said = [&](const GemmSpec& spec, const BlockScaledTensor& other) {
    return thrown([&] { gemm(a, other, named("sm100_nvfp4"), spec, cpu_kernels()); });
  };
  const auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  for (const std::vector<std::int64_t>& cuts :
       std::vector<std::vector<std::int64_t>>{{0}, {-16}, {80}, {96}, {8}, {32, 32}, {48, 32}})
    CHECK(has(said({.cuts = cuts}, b), "K is cut at"));
  CHECK(has(said({.bias = {1, 2, 3}}, b), "a bias for each of 4 columns, found 3"));
  CHECK(has(said({.c = Matrix(4, 3)}, b), "C 3 x 4 in fp32, found 4 x 3"));
  CHECK(has(said({.c = Matrix(3, 4, Dtype::bf16)}, b), "in bf16"));
  CHECK(has(said({}, quantized(wide(4, 96, 2))), "columns of both"));
  CHECK(has(said({}, quantized(wide(4, 80, 2), dialects::mxfp4_ceil::info)), "block scales of one format"));
  CHECK(said({.cuts = {16, 64}, .bias = {1, 2, 3, 4}, .c = Matrix(3, 4)}, b) == "");
}
