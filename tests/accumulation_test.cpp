#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "tests/adversary.hpp"
#include "tests/cpu_tables.hpp"
#include "tests/scattered.hpp"

using namespace nvfp4;
using adversary::Adversary, adversary::bits, adversary::code_of, adversary::Codes, adversary::elements_of;

/// Sums of products by every model: single dot products worked out by hand, the two layers against each other on
/// adversarial operands, and products of whole tensors. Results of real instructions are in
/// accumulation_golden_test.cpp.
namespace {

const Kernels* const layers[] = {&cpu_kernels(), &reference_kernels()};

double number(std::uint64_t code, Format format) {
  const auto narrow = static_cast<std::uint32_t>(code);
  float value = 0;
  reference_kernels().decode({&narrow, 1}, format, {&value, 1});
  return value;
}

/// One output: a and b by value, the other products zero.
struct Dot {
  std::string model;
  std::vector<float> a, b;
  std::uint64_t c = 0;
  Format format = Format::bf16;

  std::uint64_t by(const Kernels& kernels, const Accumulation& acc) const {
    Codes x(static_cast<std::size_t>(acc.k)), y(x.size());
    for (std::size_t k = 0; k < a.size(); ++k) x[k] = code_of(a[k], format), y[k] = code_of(b[k], format);
    MmaOperands operands{.k = acc.k, .a_format = format, .b_format = format};
    operands.a = x, operands.b = y, operands.c = {&c, 1};
    return kernels.mma(operands, acc, false).at(0);
  }
  /// By both layers, which must agree.
  std::uint64_t result() const {
    const Accumulation& acc = *find_accumulation(model);
    const std::uint64_t d = by(cpu_kernels(), acc);
    CHECK(by(reference_kernels(), acc) == d);
    return d;
  }
};

Dot bf16_dot(std::vector<float> a, std::vector<float> b, std::uint64_t c = 0) {
  return {"sm90_bf16", std::move(a), std::move(b), c, Format::bf16};
}
Dot fp8_dot(std::vector<float> a, std::vector<float> b, std::uint64_t c = 0) {
  return {"sm90_fp8", std::move(a), std::move(b), c, Format::e4m3};
}

/// 2^24 + 0.5 at each of these k, in steps of so many products.
std::uint64_t halves(int step, std::initializer_list<int> places) {
  Dot dot = bf16_dot(std::vector<float>(16), std::vector<float>(16, 1), bits(0x1p24f));
  for (const int k : places) dot.a[static_cast<std::size_t>(k)] = 0.5f;
  Accumulation acc = *find_accumulation(dot.model);
  acc.step = step;
  return dot.by(reference_kernels(), acc) == dot.by(cpu_kernels(), acc) ? dot.by(cpu_kernels(), acc) : 0;
}

}  // namespace

/// tensorcore.md 8.1.
TEST_CASE("accumulation: F is 25 on Hopper's BF16 and 13 on its FP8, for products and for C") {
  CHECK(bf16_dot({1, -1, 1}, {1, 1, 0x1p-25f}).result() == 0x33000000);
  CHECK(bf16_dot({1, -1, 1}, {1, 1, 0x1p-26f}).result() == 0);
  CHECK(fp8_dot({1, -1, 0x1p-6f}, {1, 1, 0x1p-7f}).result() == 0x39000000);
  CHECK(fp8_dot({1, -1, 0x1p-6f}, {1, 1, 0x1p-8f}).result() == 0);
  CHECK(fp8_dot({1, -1}, {1, 1}, bits(0x1p-13f)).result() == 0x39000000);
  CHECK(fp8_dot({1, -1}, {1, 1}, bits(0x1p-14f)).result() == 0);
}

TEST_CASE("accumulation: FP8's result and its C have 13 fraction bits") {
  CHECK(fp8_dot({1, 1, 1, 1, 0x1p-6f}, {1, 1, 1, 1, 0x1p-7f}).result() == 0x40800000);
  CHECK(fp8_dot({}, {}, 0x3F800001).result() == 0x3F800000);
}

TEST_CASE("accumulation: products per step") {
  CHECK(find_accumulation("sm90_bf16")->step == 16);
  CHECK(halves(16, {0, 1, 8, 9}) == 0x4B800001);
  CHECK(halves(8, {0, 1, 8, 9}) == 0x4B800000);
  CHECK(halves(8, {0, 1, 4, 5}) == 0x4B800001);
  CHECK(halves(4, {0, 1, 4, 5}) == 0x4B800000);
}

TEST_CASE("accumulation: products are not normalised, zeros carry no exponent, C = 0 has a floor") {
  CHECK(bf16_dot({1.5f, -1.5f, 1}, {1.5f, 1.5f, 0x1p-25f}).result() == 0x33000000);
  CHECK(bf16_dot({1.125f, -1.125f, 1}, {2, 2, 0x1p-25f}).result() == 0);
  CHECK(bf16_dot({0, 0x1p-60f}, {0x1p127f, 0x1p-60f}).result() == 0x03800000);
  CHECK(bf16_dot({0x1p-75f, -0x1p-80f}, {0x1p-74f, 0x1p-79f}).result() == 1);
}

TEST_CASE("accumulation: results are cut towards zero") {
  CHECK(bf16_dot({1, 1.5f}, {1, 0x1p-24f}).result() == 0x3F800000);
  CHECK(bf16_dot({-1, -1.5f}, {1, 0x1p-24f}).result() == 0xBF800000);
}

TEST_CASE("accumulation: zeros are +0, subnormals are kept, overflow gives infinity") {
  CHECK(bf16_dot({}, {}, 1).result() == 1);
  CHECK(bf16_dot({}, {}, 0x80000001).result() == 0x80000001);
  CHECK(bf16_dot(std::vector<float>(16, -0.f), std::vector<float>(16, 1), 0x80000000).result() == 0);
  CHECK(bf16_dot({1, -1}, {1, 1}, 0x80000000).result() == 0);
  CHECK(bf16_dot({0x1p127f}, {2}).result() == 0x7F800000);
  CHECK(bf16_dot({-0x1p127f}, {2}).result() == 0xFF800000);
  CHECK(bf16_dot({0x1p127f, -0x1p127f}, {2, 2}).result() == 0);
  CHECK(bf16_dot({}, {}, 0x7F7FFFFF).result() == 0x7F7FFFFF);
}

TEST_CASE("accumulation: a flag decides whether a sum of -0 alone is -0") {
  Accumulation acc = *find_accumulation("sm90_bf16");
  acc.minus_zero = true;
  for (const Kernels* kernels : layers) {
    CHECK(bf16_dot(std::vector<float>(16, -0.f), std::vector<float>(16, 1), 0x80000000).by(*kernels, acc) ==
          0x80000000);
    CHECK(bf16_dot(std::vector<float>(15, -0.f), std::vector<float>(15, 1), 0x80000000).by(*kernels, acc) ==
          0);
    CHECK(bf16_dot(std::vector<float>(16, -0.f), std::vector<float>(16, 1)).by(*kernels, acc) == 0);
  }
}

TEST_CASE("accumulation: NaN is 0x7FFFFFFF and wins over infinity") {
  const float inf = INFINITY;
  CHECK(bf16_dot({NAN}, {0}).result() == 0x7FFFFFFF);
  CHECK(bf16_dot({inf}, {0}).result() == 0x7FFFFFFF);
  CHECK(bf16_dot({inf, inf}, {1, -1}).result() == 0x7FFFFFFF);
  CHECK(bf16_dot({inf}, {1}, 0xFF800000).result() == 0x7FFFFFFF);
  CHECK(bf16_dot({inf, 1}, {1, -0x1p127f}).result() == 0x7F800000);
  CHECK(bf16_dot({}, {}, 0xFF800000).result() == 0xFF800000);
  CHECK(bf16_dot({}, {}, 0xFFC00001).result() == 0x7FFFFFFF);
  const Accumulation fp16 = fp16_accumulator(*find_accumulation("sm90_fp16"));
  for (const Kernels* kernels : layers) {
    CHECK(Dot{"", {NAN}, {1}, 0, Format::fp16}.by(*kernels, fp16) == 0x7FFF);
    CHECK(Dot{"", {256}, {256}, 0, Format::fp16}.by(*kernels, fp16) == 0x7C00);
    CHECK(Dot{"", {1}, {1}, 0xFC00, Format::fp16}.by(*kernels, fp16) == 0xFC00);
    CHECK(Dot{"", {0x1p-14f}, {0x1p-10f}, 0x8001, Format::fp16}.by(*kernels, fp16) == 0);
  }
}

TEST_CASE("accumulation: FP64 is a chain of FMAs") {
  std::mt19937_64 random(3);
  const auto number = [](std::uint64_t code) { return std::bit_cast<double>(code); };
  Codes a(300), b(300), c(100);
  for (Codes* codes : {&a, &b, &c})
    for (std::uint64_t& code : *codes)
      code = random() % 8        ? std::bit_cast<std::uint64_t>(std::ldexp(static_cast<double>(random()),
                                                                           static_cast<int>(random() % 8) - 60))
             : random() % 3 == 0 ? random() & 0x800FFFFFFFFFFFFF
                                 : random();
  MmaOperands x{.tiles = 100, .k = 3};
  x.a = a, x.b = b, x.c = c;
  const Accumulation& acc = *find_accumulation("sm80_fp64");
  const Codes d = reference_kernels().mma(x, acc, false);
  CHECK(d == cpu_kernels().mma(x, acc, false));
  for (std::size_t i = 0; i < 100; ++i) {
    double sum = number(c[i]);
    for (std::size_t k = 3 * i; k < 3 * i + 3; ++k) sum = std::fma(number(a[k]), number(b[k]), sum);
    CHECK(d[i] == (std::isnan(sum) ? 0x7FF8000000000000 : std::bit_cast<std::uint64_t>(sum)));
  }
}

namespace {

void check_layers_agree(const Accumulation& acc, int rounds, unsigned seed) {
  Adversary adversary(seed);
  for (int round = 0; round < rounds; ++round)
    for (const Format format : elements_of(acc)) {
      const std::int64_t k = adversary.below(2)
                                 ? acc.k
                                 : 1 + adversary.below(3 * static_cast<std::uint32_t>(std::max(acc.k, 20)));
      Accumulation scaled = acc;
      if (takes_all(acc) && format != Format::fp16 && adversary.below(2))
        scaled.scale = format == Format::e2m1 && adversary.below(2) ? Format::ue4m3 : Format::e8m0,
        scaled.block = 16;
      const MmaOperands x = adversary.operands(scaled, format, 8, k);
      const bool every_step = adversary.below(2);
      CAPTURE(acc.name);
      CAPTURE(info(format).name);
      CAPTURE(k);
      CHECK(reference_kernels().mma(x, scaled, every_step) == cpu_kernels().mma(x, scaled, every_step));
    }
}

}  // namespace

TEST_CASE("accumulation: both layers agree by every model on adversarial operands" *
          doctest::test_suite("sweep")) {
  unsigned seed = 0;
  for (const Accumulation& acc : accumulations()) {
    if (acc.sum == Summation::fp64_fma) continue;
    check_layers_agree(acc, 12, ++seed);
    if (acc.has_fp16) check_layers_agree(fp16_accumulator(acc), 12, ++seed);
  }
}

/// The largest and the least numbers of a format under the largest and the least E8M0 scales: products of 2^510 and
/// 2^-520.
TEST_CASE("accumulation: exact sums reach the ends of every format under the ends of the scales") {
  std::mt19937 random(7);
  const std::uint8_t scale_ends[] = {0, 1, 127, 253, 254};
  for (const Format format : {Format::bf16, Format::tf32, Format::fp16, Format::e5m2}) {
    const FormatInfo& f = info(format);
    const int unused = format == Format::tf32 ? 13 : 0, width = f.exponent_bits + f.mantissa_bits;
    const std::uint64_t infinity = ((1ull << f.exponent_bits) - 1) << f.mantissa_bits;
    const std::uint64_t ends[] = {
        0, 1, 1ull << f.mantissa_bits, infinity - 1, 1ull << width | 1, 1ull << width | (infinity - 1)};
    MmaOperands x{
        .tiles = 400, .k = 64, .a_format = format, .b_format = format, .scale = Format::e8m0, .block = 32};
    Codes a(400 * 64), b(400 * 64), c(400);
    std::vector<std::uint8_t> a_scales(800), b_scales(800);
    for (Codes* codes : {&a, &b})
      for (std::uint64_t& code : *codes) code = random() % 4 ? 0 : ends[random() % 6] << unused;
    for (auto* scales : {&a_scales, &b_scales})
      for (std::uint8_t& scale : *scales) scale = scale_ends[random() % 5];
    x.a = a, x.b = b, x.c = c, x.a_scales = a_scales, x.b_scales = b_scales;
    CAPTURE(f.name);
    const Accumulation& exact = *find_accumulation("exact");
    CHECK(cpu_kernels().mma(x, exact, false) == reference_kernels().mma(x, exact, false));
  }
}

/// Of FP6 elements no bit is lost in a step of 32 from C = 0: their products are multiples of 2^-8 below 2^10.
TEST_CASE("accumulation: a step of FP6 elements is their exact dot product") {
  std::mt19937 random(6);
  for (const std::string model : {"sm100_f8f6f4", "sm120_mxf8f6f4"})
    for (const Format a : {Format::e2m3, Format::e3m2})
      for (const Format b : {Format::e2m3, Format::e3m2, Format::e2m1}) {
        const Accumulation& acc = *find_accumulation(model);
        const std::vector<std::uint8_t> a_scales(64, 130), b_scales(64, 120);  // 2^3 and 2^-7
        MmaOperands x{.tiles = 64, .k = 32, .a_format = a, .b_format = b, .scale = acc.scale, .block = 32};
        if (acc.scale) x.a_scales = a_scales, x.b_scales = b_scales;
        Codes as(64 * 32), bs(64 * 32), c(64), expected;
        for (std::uint64_t& code : as) code = random() % (1u << info(a).bits);
        for (std::uint64_t& code : bs) code = random() % (1u << info(b).bits);
        for (std::size_t t = 0; t < 64; ++t) {
          double sum = 0;
          for (std::size_t k = t * 32; k < (t + 1) * 32; ++k) sum += number(as[k], a) * number(bs[k], b);
          expected.push_back(bits(static_cast<float>(acc.scale ? sum / 16 : sum)));
        }
        x.a = as, x.b = bs, x.c = c;
        CAPTURE(model);
        CAPTURE(info(a).name);
        CAPTURE(info(b).name);
        CHECK(cpu_kernels().mma(x, acc, false) == expected);
        CHECK(reference_kernels().mma(x, acc, false) == expected);
      }
}

TEST_CASE("accumulation: both layers agree on models that nobody has built" * doctest::test_suite("sweep")) {
  unsigned seed = 100;
  for (const std::string model : {"sm90_bf16", "sm90_fp8", "sm90_fp8_mma", "sm100_tf32", "sm100_nvfp4",
                                  "sm100_mxfp4", "sm100_mxf8f6f4"})
    for (const AlignRounding rounding :
         {AlignRounding::toward_zero, AlignRounding::floor, AlignRounding::nearest_even})
      for (const ZeroRule rule : {ZeroRule::zero_products, ZeroRule::zero_sum, ZeroRule::never})
        for (const bool flag : {false, true}) {
          Accumulation acc = *find_accumulation(model);
          acc.align_rounding = rounding, acc.zero_rule = rule, acc.minus_zero = flag;
          acc.c_in_sum = acc.c_in_sum != flag;
          acc.fraction_bits += flag ? 2 : -1;
          if (flag && acc.align == Align::group) acc.align = Align::product, acc.group = 1;
          check_layers_agree(acc, 6, ++seed);
        }
}

namespace {

Matrix random_matrix(std::int64_t rows, std::int64_t cols, unsigned seed, unsigned binades) {
  return scattered::blocks(rows, cols, seed, binades, scattered::From::up);
}

BlockScaledTensor quantized(std::int64_t rows, std::int64_t cols, unsigned seed,
                            const QuantizeSpec& spec = {}) {
  return cpu_kernels().quantize(random_matrix(rows, cols, seed, 20).view(), spec, {});
}

bool same(const Matrix& a, const Matrix& b) { return compare(a.view(), b.view(), "acc").equal(); }

/// element * block scale, by the dialect whose dequantizer that is.
std::vector<double> values(BlockScaledTensor t) {
  t.spec.dialect = &dialects::mlx_single_level::info;
  const Matrix m = reference_kernels().dequantize(t);
  return {m.f32(), m.f32() + t.rows * t.cols};
}

}  // namespace

TEST_CASE("multiply: every table, every model and block shape, K of any length") {
  const auto mxfp4 = default_spec(*find_dialect("mxfp4_ceil")),
             mxfp8 = default_spec(*find_dialect("mxfp8_ceil"));
  for (const std::int64_t k : {1, 16, 63, 200}) {
    const auto agree = [&](const QuantizeSpec& spec, std::initializer_list<const char*> models) {
      const BlockScaledTensor a = quantized(5, k, 1, spec), b = quantized(19, k, 2, spec);
      for (const char* model : models) {
        CAPTURE(model);
        CAPTURE(k);
        const Accumulation& acc = *find_accumulation(model);
        const Matrix d = reference_kernels().multiply(a, b, acc, {});
        CHECK((d.rows == 5 && d.cols == 19 && d.dtype == Dtype::fp32));
        for (const Kernels* kernels : cpu_tables()) CHECK(same(d, kernels->multiply(a, b, acc, {})));
      }
    };
    agree({}, {"sm100_nvfp4", "sm103_nvfp4_k96", "sm100_nvfp4_chunk64", "exact", "fp32_in_order"});
    agree({.block = {16, 16}}, {"sm100_nvfp4", "exact"});
    agree(mxfp4, {"sm100_mxfp4", "exact", "fp32_in_order"});
    agree(mxfp8, {"sm100_mxf8f6f4", "exact", "fp32_in_order"});
  }
}

TEST_CASE("multiply: memory that is donated does not show") {
  const auto donated = [](std::int64_t rows, std::int64_t cols, Dtype dtype) {
    Matrix m(rows, cols, dtype);
    std::ranges::fill(m.bytes, std::byte{0xFF});
    return m;
  };
  for (const std::int64_t k : {0, 40, 130}) {
    const BlockScaledTensor a = quantized(6, k, 1, {}), b = quantized(20, k, 2, {});
    for (const char* model : {"sm100_nvfp4", "sm100_nvfp4_chunk64", "exact", "fp32_in_order"}) {
      CAPTURE(model);
      const Accumulation& acc = *find_accumulation(model);
      const Matrix d = reference_kernels().multiply(a, b, acc, {});
      for (const Kernels* kernels : cpu_tables())
        for (const std::int64_t rows : {1, 6, 50}) {
          const Matrix made =
              kernels->multiply(a, b, acc, donated(rows, 20, rows == 1 ? Dtype::bf16 : Dtype::fp32));
          CHECK((made.rows == 6 && made.cols == 20 && made.dtype == Dtype::fp32));
          CHECK(made.bytes == d.bytes);
        }
    }
  }
}

TEST_CASE("multiply: exact and in order, by values") {
  const BlockScaledTensor a = quantized(4, 1024, 3), b = quantized(7, 1024, 4);
  const std::vector<double> x = values(a), y = values(b);
  const Matrix exact = cpu_kernels().multiply(a, b, *find_accumulation("exact"), {});
  const Matrix in_order = cpu_kernels().multiply(a, b, *find_accumulation("fp32_in_order"), {});
  int differing = 0;
  for (std::size_t i = 0; i < 4; ++i)
    for (std::size_t j = 0; j < 7; ++j) {
      double sum = 0;  // multiples of 2^-20 below 2^33: FP64 loses nothing
      float chain = 0;
      for (std::size_t k = 0; k < 1024; ++k) {
        sum += x[i * 1024 + k] * y[j * 1024 + k];
        chain += static_cast<float>(x[i * 1024 + k] * y[j * 1024 + k]);
      }
      CHECK(exact.f32()[i * 7 + j] == static_cast<float>(sum));
      CHECK(in_order.f32()[i * 7 + j] == chain);
      differing += static_cast<float>(sum) != chain;
    }
  CHECK(differing > 0);
}

TEST_CASE("multiply: second-level scales are left out, and a NaN block scale is NaN") {
  BlockScaledTensor a = quantized(2, 64, 5);
  const BlockScaledTensor b = quantized(3, 64, 6);
  const Accumulation& acc = *find_accumulation("sm100_nvfp4");
  const Matrix d = cpu_kernels().multiply(a, b, acc, {});
  a.global[0] = 1e-20f;
  CHECK(same(d, cpu_kernels().multiply(a, b, acc, {})));
  a.scales[0] = static_cast<std::uint8_t>(a.scales[0] | 0x80);
  CHECK(same(d, cpu_kernels().multiply(a, b, acc, {})));
  a.scales[0] = 0x7F;
  const Matrix nan = cpu_kernels().multiply(a, b, acc, {});
  for (int j = 0; j < 3; ++j) CHECK(bits(nan.f32()[j]) == 0x7FFFFFFF);
  for (int j = 3; j < 6; ++j) CHECK(bits(nan.f32()[j]) == bits(d.f32()[j]));
}

TEST_CASE("multiply_dense: both layers, every element format and dtype") {
  Matrix a = random_matrix(5, 50, 7, 20), b = random_matrix(18, 50, 8, 20);
  for (Matrix* m : {&a, &b})
    for (std::int64_t i = 0; i < m->rows * m->cols; ++i)
      m->f32()[i] = std::bit_cast<float>(bits(m->f32()[i]) & 0xFFFF0000);
  const auto agree = [&](MatrixView x, MatrixView y, const std::string& model) {
    CAPTURE(model);
    const Accumulation& acc = *find_accumulation(model);
    const Matrix d = reference_kernels().multiply_dense(x, y, acc);
    for (const Kernels* kernels : cpu_tables()) CHECK(same(d, kernels->multiply_dense(x, y, acc)));
    return d;
  };
  Matrix short_a(5, 50, Dtype::bf16), short_b(18, 50, Dtype::bf16);
  for (std::int64_t i = 0; i < 5 * 50; ++i)
    short_a.u16()[i] = static_cast<std::uint16_t>(bits(a.f32()[i]) >> 16);
  for (std::int64_t i = 0; i < 18 * 50; ++i)
    short_b.u16()[i] = static_cast<std::uint16_t>(bits(b.f32()[i]) >> 16);
  for (const std::string model : {"sm80_bf16", "sm89_bf16", "sm90_bf16", "sm100_bf16", "sm120_bf16",
                                  "sm80_tf32", "sm90_tf32", "exact", "fp32_in_order"})
    CHECK(same(agree(a.view(), b.view(), model), agree(short_a.view(), short_b.view(), model)));
  Matrix half_a(5, 50, Dtype::fp16), half_b(18, 50, Dtype::fp16);
  std::mt19937 random(9);
  for (Matrix* m : {&half_a, &half_b})
    for (std::int64_t i = 0; i < m->rows * m->cols; ++i)
      m->u16()[i] = static_cast<std::uint16_t>(random() % 0x7C00 | (random() & 0x8000));
  for (const std::string model : {"sm70_fp16", "sm75_fp16", "sm80_fp16", "sm90_fp16", "sm100_fp16",
                                  "sm100_tf32", "exact", "fp32_in_order"})
    agree(half_a.view(), half_b.view(), model);
  const Accumulation fp16 = fp16_accumulator(*find_accumulation("sm90_fp16"));
  const Matrix d = cpu_kernels().multiply_dense(half_a.view(), half_b.view(), fp16);
  CHECK(same(d, reference_kernels().multiply_dense(half_a.view(), half_b.view(), fp16)));
}

TEST_CASE("multiply_dense: exact sums of FP32, however far apart, and their specials") {
  Matrix a(1, 4), b(8, 4);
  const float x[] = {0x1p127f, 0x1p-149f, -0x1p127f, 1};
  const float y[][4] = {{0x1p127f, 0x1p-149f, 0x1p127f, 0},
                        {0x1p-100f, 1, 0x1p-100f, 0},
                        {1, 0, 1, 0x1p-149f},
                        {2, 0, 1, 0},
                        {0, 0, 0, NAN},
                        {0, INFINITY, 0, 0},
                        {1, 0, 1, -INFINITY},
                        {-0x1p-127f, 0, 0, -0x1.000002p0f}};
  std::copy_n(x, 4, a.f32());
  std::copy_n(&y[0][0], 32, b.f32());
  const Matrix d = cpu_kernels().multiply_dense(a.view(), b.view(), *find_accumulation("exact"));
  CHECK(same(d, reference_kernels().multiply_dense(a.view(), b.view(), *find_accumulation("exact"))));
  const std::uint32_t expected[] = {0,          1,          1,          0x7F000000,
                                    0x7FFFFFFF, 0x7F800000, 0xFF800000, bits(-0x1.000001p1f)};
  for (int j = 0; j < 8; ++j) CHECK(bits(d.f32()[j]) == expected[j]);
}

TEST_CASE("multiply: refusals") {
  const BlockScaledTensor nvfp4 = quantized(2, 64, 1),
                          mxfp4 = quantized(2, 64, 2, default_spec(*find_dialect("mxfp4_ceil")));
  Matrix a(2, 16), other(2, 17);
  a.f32()[3] = 0x1.000002p0f;
  for (const Kernels* kernels : layers) {
    const auto refuses = [&](const BlockScaledTensor& x, const BlockScaledTensor& y, const char* model) {
      CHECK_THROWS_AS(kernels->multiply(x, y, *find_accumulation(model), {}), std::invalid_argument);
    };
    for (const char* model : {"sm100_bf16", "sm100_mxfp4", "sm100_mxf8f6f4", "sm100_f8f6f4", "sm80_fp64"})
      refuses(nvfp4, nvfp4, model);
    Accumulation shuffled = *find_accumulation("sm100_nvfp4");
    shuffled.k_order = KOrder::mod4;
    CHECK_THROWS_AS(kernels->multiply(nvfp4, nvfp4, shuffled, {}), std::invalid_argument);
    refuses(mxfp4, mxfp4, "sm100_nvfp4");
    refuses(mxfp4, nvfp4, "exact");
    refuses(nvfp4, quantized(2, 80, 3), "sm100_nvfp4");
    for (const char* model : {"sm100_bf16", "sm90_fp16", "sm90_tf32", "sm100_nvfp4", "sm90_fp8", "sm80_fp64"})
      CHECK_THROWS_AS(kernels->multiply_dense(a.view(), a.view(), *find_accumulation(model)),
                      std::invalid_argument);
    CHECK_THROWS_AS(kernels->multiply_dense(a.view(), other.view(), *find_accumulation("exact")),
                    std::invalid_argument);
    CHECK_THROWS_AS(kernels->mma({.k = 16}, *find_accumulation("sm90_bf16"), false), std::invalid_argument);
  }
}

/// The loops of the instruction sets against the general steps, which mma takes: NaN scales in some rows, sums that
/// overflow, exponents far apart, all in one matrix.
TEST_CASE("multiply: what wide exponents, overflow and NaN come to is what mma makes of the same codes") {
  std::mt19937 random(11);
  for (const char* model : {"sm100_mxfp4", "sm100_nvfp4", "sm103_nvfp4_k96"}) {
    const Accumulation& acc = *find_accumulation(model);
    const bool e8m0 = acc.scale == Format::e8m0;
    const QuantizeSpec spec = e8m0 ? default_spec(*find_dialect("mxfp4_ceil")) : QuantizeSpec{};
    BlockScaledTensor a = quantized(20, 192, 1, spec), b = quantized(33, 192, 2, spec);
    for (BlockScaledTensor* t : {&a, &b}) {
      for (std::uint8_t& byte : t->codes) byte = static_cast<std::uint8_t>(random() % 3 ? random() : 0);
      for (std::uint8_t& byte : t->scales)
        byte = static_cast<std::uint8_t>(e8m0 ? random() % 255 : random() % 127);
      t->scales[0] = e8m0 ? 0xFF : 0x7F;
    }
    Codes ca, cb, c(20 * 33);
    for (const auto& [t, codes] : {std::pair{&a, &ca}, std::pair{&b, &cb}})
      for (const std::uint8_t byte : t->codes)
        codes->insert(codes->end(), {std::uint64_t{byte} & 15, std::uint64_t{byte} >> 4});
    MmaOperands x{.rows = 20, .cols = 33, .k = 192, .scale = acc.scale, .block = spec.block.cols};
    x.a = ca, x.b = cb, x.c = c, x.a_scales = a.scales, x.b_scales = b.scales;
    const Codes d = reference_kernels().mma(x, acc, false);
    for (const Kernels* kernels : cpu_tables()) {
      const Matrix m = kernels->multiply(a, b, acc, {});
      int differing = 0, special = 0;
      for (std::size_t i = 0; i < d.size(); ++i) {
        differing += bits(m.f32()[i]) != d[i];
        special += (d[i] & 0x7FFFFFFF) >= 0x7F800000;
      }
      CHECK(differing == 0);
      CHECK(special >= 52);
    }
  }
}

TEST_CASE("multiply: threads change no bit") {
  const BlockScaledTensor a = quantized(40, 256, 1), b = quantized(50, 256, 2);
  const Accumulation& acc = *find_accumulation("sm100_nvfp4");
  const int before = threads();
  set_threads(1);
  const Matrix expected = cpu_kernels().multiply(a, b, acc, {});
  for (const int n : {2, 7}) {
    set_threads(n);
    CHECK(same(expected, cpu_kernels().multiply(a, b, acc, {})));
  }
  set_threads(before);
}

TEST_CASE("accumulations: names are unique, FP4 rows say what they rest on") {
  CHECK(accumulations().size() == 34);
  for (const Accumulation& acc : accumulations()) {
    CHECK(find_accumulation(acc.name) == &acc);
    CHECK(!acc.evidence.empty());
    CHECK(!acc.confidence.empty());
    if (acc.name == "sm100_nvfp4" || acc.name == "sm120_mxfp4")
      CHECK(acc.evidence.find("until a Blackwell run") != acc.evidence.npos);
  }
  CHECK(find_accumulation("nope") == nullptr);
  CHECK_THROWS_AS(fp16_accumulator(*find_accumulation("sm90_bf16")), std::invalid_argument);
}
