#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "tests/cpu_tables.hpp"

using namespace nvfp4;

namespace {

constexpr StochasticEncoding hardware{}, te_software{.rule = SrRule::te_software},
    tetrajet{.rule = SrRule::tetrajet, .bits = 23};

float bf16(std::uint32_t code) { return std::bit_cast<float>(code << 16); }

std::vector<std::uint32_t> encode(const Kernels& kernels, const std::vector<float>& values,
                                  const std::vector<std::uint32_t>& random, const StochasticEncoding& e) {
  std::vector<std::uint32_t> codes(values.size());
  kernels.encode_stochastic(values, random, e, codes);
  return codes;
}

/// What each of the 2^bits draws rounds x to.
std::vector<float> outcomes(float x, const StochasticEncoding& e) {
  std::vector<std::uint32_t> random(std::size_t{1} << e.bits);
  std::iota(random.begin(), random.end(), 0);
  const std::vector<std::uint32_t> codes =
      encode(reference_kernels(), std::vector<float>(random.size(), x), random, e);
  std::vector<float> values(codes.size());
  reference_kernels().decode(codes, e.format, values);
  return values;
}

double mean(const std::vector<float>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// `draws` random numbers for every BF16 pattern, on the reference and the CPU layer.
void hold_all_bf16(const StochasticEncoding& e, const std::vector<std::uint32_t>& draws) {
  std::uint64_t differing = 0;
#pragma omp parallel for reduction(+ : differing) schedule(dynamic)
  for (std::uint32_t high = 0; high < 0x10000; high += 0x100) {
    std::vector<float> values;
    std::vector<std::uint32_t> random;
    for (std::uint32_t code = high; code < high + 0x100; ++code)
      for (const std::uint32_t r : draws) values.push_back(bf16(code)), random.push_back(r);
    const auto expected = encode(reference_kernels(), values, random, e);
    const auto actual = encode(cpu_kernels(), values, random, e);
    for (std::size_t i = 0; i < values.size(); ++i) differing += expected[i] != actual[i];
  }
  CHECK(differing == 0);
}

std::vector<std::uint32_t> all_bytes() {
  std::vector<std::uint32_t> draws(256);
  std::iota(draws.begin(), draws.end(), 0);
  return draws;
}

/// The ends and some of the middle of `bits` bits.
std::vector<std::uint32_t> some_draws(int bits) {
  const auto last = static_cast<std::uint32_t>((std::uint64_t{1} << bits) - 1);
  std::vector<std::uint32_t> draws{0, 1, last / 3, last / 2, last / 2 + 1, last - 1, last};
  for (std::uint32_t& r : draws) r &= last;
  return draws;
}

QuantizeSpec stochastic_spec(const Dialect& dialect, const Stochastic& s) {
  QuantizeSpec spec = default_spec(dialect);
  spec.stochastic = s;
  return spec;
}

std::vector<const Dialect*> stochastic_dialects() {
  std::vector<const Dialect*> found;
  for (const Dialect* d : all_dialects())
    if (d->stochastic) found.push_back(d);
  return found;
}

}  // namespace

TEST_CASE("stochastic: every BF16 value with every 8-bit draw on both layers" *
          doctest::test_suite("sweep")) {
  for (const Format format : {Format::e2m1, Format::e4m3, Format::bf16})
    hold_all_bf16({.format = format}, all_bytes());
  hold_all_bf16(te_software, all_bytes());
}

TEST_CASE("stochastic: every BF16 value by other numbers of bits" * doctest::test_suite("sweep")) {
  for (const int bits : {1, 2, 7, 13, 16, 24, 32})
    for (const Format format : {Format::e2m1, Format::e4m3})
      hold_all_bf16({.format = format, .bits = bits}, some_draws(bits));
  hold_all_bf16(tetrajet, some_draws(23));
}

TEST_CASE("stochastic: FP32 values of every exponent on both layers" * doctest::test_suite("sweep")) {
  std::mt19937 random(5);
  std::vector<float> values(1 << 18);
  for (float& x : values) x = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
  for (const StochasticEncoding& e :
       {hardware, te_software, tetrajet, StochasticEncoding{.format = Format::bf16, .bits = 16},
        StochasticEncoding{.format = Format::e4m3, .bits = 32}, StochasticEncoding{.bits = 31}}) {
    std::vector<std::uint32_t> draws(values.size());
    for (std::uint32_t& r : draws)
      r = e.bits == 32 ? static_cast<std::uint32_t>(random())
                       : static_cast<std::uint32_t>(random()) >> (32 - e.bits);
    CHECK(encode(reference_kernels(), values, draws, e) == encode(cpu_kernels(), values, draws, e));
  }
}

/// P(hi) = floor(256 f) / 256: bias and variance in units of the gap, over every BF16 value up to 6.
TEST_CASE("stochastic: bias and variance of the hardware's 8 bits are the formulas" *
          doctest::test_suite("sweep")) {
  for (std::uint32_t code = 0; bf16(code) < 6; ++code) {
    const double x = bf16(code), gap = x < 2 ? 0.5 : x < 4 ? 1 : 2;
    const double low = std::floor(x / gap) * gap, p = std::floor(256 * (x - low) / gap) / 256;
    double sum = 0, squares = 0;
    for (const float y : outcomes(bf16(code), hardware)) sum += y, squares += (y - low) * (y - low);
    REQUIRE(sum / 256 == low + gap * p);
    REQUIRE(squares / 256 - gap * p * gap * p == gap * gap * p * (1 - p));
  }
}

TEST_CASE("stochastic: as many bits as the fraction has leave no bias") {
  for (const float x : {0.3125f, 1.203125f, 2.0625f, 5.71875f, 0.001953125f}) {
    CHECK(mean(outcomes(x, {.bits = 12})) == x);
    CHECK(mean(outcomes(x, {.bits = 3})) <= x);
  }
  CHECK(mean(outcomes(-2.0625f, {.bits = 12})) == -2.0625);
  CHECK(mean(outcomes(0x1.8p-8f, {.format = Format::e4m3, .bits = 4})) == 0x1.8p-8);
  CHECK(mean(outcomes(1 + 0x1p-12f, {.format = Format::bf16, .bits = 16})) == 1 + 0x1p-12);
}

/// nvidia_dialects.md 1.6.4: TE's FP32 sum rounds up to the step, where the hardware's cut sum stays below.
TEST_CASE("stochastic: Transformer Engine's rounder moves a tiny value that the hardware leaves") {
  const float tiny = 0x1p-9f - 0x1p-33f;
  for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()}) {
    CHECK(encode(*kernels, {tiny, -tiny}, {255, 255}, hardware) == std::vector<std::uint32_t>{0, 8});
    CHECK(encode(*kernels, {tiny, -tiny}, {255, 255}, te_software) == std::vector<std::uint32_t>{1, 9});
  }
}

TEST_CASE("stochastic: what no draw moves") {
  for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()})
    for (const std::uint32_t r : {0u, 255u}) {
      const std::vector<float> fixed{0, -0.f, 0.5f, -3, 6, 7, -1e30f, INFINITY, -INFINITY, NAN, -NAN};
      const std::vector<std::uint32_t> codes{0, 8, 1, 13, 7, 7, 15, 7, 15, 7, 7};
      const std::vector<std::uint32_t> draws(fixed.size(), r);
      CHECK(encode(*kernels, fixed, draws, hardware) == codes);
      CHECK(encode(*kernels, fixed, draws, te_software) == codes);
    }
}

TEST_CASE("stochastic: encodings that there are none of") {
  for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()})
    for (const StochasticEncoding& e :
         {StochasticEncoding{.format = Format::fp16}, StochasticEncoding{.bits = 0},
          StochasticEncoding{.bits = 33},
          StochasticEncoding{.format = Format::e4m3, .rule = SrRule::te_software},
          StochasticEncoding{.rule = SrRule::tetrajet}})
      CHECK_THROWS_AS(encode(*kernels, {1}, {0}, e), std::invalid_argument);
}

/// A tensor whose scales are all 1: the elements themselves are rounded. Words repeat one byte, then all differ.
TEST_CASE("stochastic: quantized elements are the encoder's for every BF16 value up to 6 with every byte" *
          doctest::test_suite("sweep")) {
  std::vector<float> values;
  for (std::uint32_t code = 0; bf16(code) <= 6; ++code)
    values.push_back(bf16(code)), values.push_back(-bf16(code));
  const auto rows = static_cast<std::int64_t>((values.size() + 14) / 15);
  Matrix x(rows, 16, Dtype::bf16);
  for (std::size_t i = 0; i < values.size(); ++i)
    x.u16()[i / 15 * 16 + i % 15] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(values[i]) >> 16);
  for (std::int64_t r = 0; r < rows; ++r) x.u16()[16 * r + 15] = 0x40C0;  // 6
  for (const SrRule rule : {SrRule::carry, SrRule::te_software})
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      const std::vector<std::uint32_t> words(static_cast<std::size_t>(4 * rows), byte * 0x01010101);
      QuantizeSpec spec =
          stochastic_spec(dialects::te::info, {.rule = rule, .from_caller = true, .words = words});
      spec.amax = 2688;
      const BlockScaledTensor t = cpu_kernels().quantize(x.view(), spec, {});
      const auto expected = encode(reference_kernels(), values,
                                   std::vector<std::uint32_t>(values.size(), byte), {.rule = rule});
      std::size_t differing = 0;
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::size_t at = i / 15 * 16 + i % 15;
        differing += (t.codes[at / 2] >> (at % 2 * 4) & 15) != expected[i];
      }
      CHECK(differing == 0);
    }
}

TEST_CASE("stochastic: every layer as the reference in every dialect that has it" *
          doctest::test_suite("sweep")) {
  for (const Dialect* dialect : stochastic_dialects())
    for (const Dtype dtype : {Dtype::fp32, Dtype::bf16, Dtype::fp16})
      for (const std::string_view pack : {"random", "ragged", "nonfinite"})
        for (const Case& c : make_cases(pack, dtype, 3))
          for (const Stochastic& s :
               {Stochastic{.random = {.seed = 7, .stream = 2, .row = 5, .col = 32}},
                Stochastic{
                    .rule = SrRule::te_software, .map = ByteMap::te, .random = {.seed = 1, .rounds = 7}}}) {
            CAPTURE(dialect->name);
            CAPTURE(c.name);
            QuantizeSpec spec = stochastic_spec(*dialect, s);
            const BlockScaledTensor expected = reference_kernels().quantize(c.input.view(), spec, {});
            for (const Kernels* kernels : cpu_tables())
              CHECK(compare(expected, kernels->quantize(c.input.view(), spec, {})).equal());
            if (dialect->per_row || dialect->block_cols != 16) continue;
            spec.block = {16, 16};
            CHECK(compare(reference_kernels().quantize(c.input.view(), spec, {}),
                          cpu_kernels().quantize(c.input.view(), spec, {}))
                      .equal());
          }
}

TEST_CASE("stochastic: the caller's words are the words that were drawn, and no others") {
  const Case c = make_cases("ragged", Dtype::fp32, 3)[1];
  const RandomBits bits{.seed = 3, .stream = 9};
  std::vector<std::uint32_t> words;
  for (std::int64_t i = 0; i < c.input.rows; ++i)
    for (std::int64_t b = 0; b < (c.input.cols + 15) / 16; ++b)
      for (const std::uint32_t word : draw(bits, i, b)) words.push_back(word);
  const QuantizeSpec drawn = stochastic_spec(dialects::te::info, {.random = bits});
  QuantizeSpec given = stochastic_spec(dialects::te::info, {.from_caller = true, .words = words});
  for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()}) {
    const BlockScaledTensor t = kernels->quantize(c.input.view(), given, {});
    CHECK(compare(kernels->quantize(c.input.view(), drawn, {}), t).equal());
    CHECK(t.spec.stochastic->words.empty());
    words[1] ^= 0xFFFFFFFF;
    CHECK_FALSE(compare(t, kernels->quantize(c.input.view(), given, {})).equal());
    words[1] ^= 0xFFFFFFFF;
  }
  given.stochastic->words = std::span(words).first(words.size() - 1);
  for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()})
    CHECK_THROWS_AS(kernels->quantize(c.input.view(), given, {}), std::invalid_argument);
}

TEST_CASE("stochastic: the byte maps swap the middle two elements of four") {
  const Case c = make_cases("random", Dtype::fp32, 3)[0];
  std::vector<std::uint32_t> words(static_cast<std::size_t>(c.input.rows * ((c.input.cols + 15) / 16) * 4));
  for (std::size_t i = 0; i < words.size(); ++i)
    words[i] = philox4x32({static_cast<std::uint32_t>(i)}, {})[0];
  std::vector<std::uint32_t> swapped = words;
  for (std::uint32_t& w : swapped) w = (w & 0xFF0000FF) | (w >> 8 & 0xFF00) | (w << 8 & 0xFF0000);
  const auto by = [&](ByteMap map, const std::vector<std::uint32_t>& given) {
    return cpu_kernels().quantize(
        c.input.view(),
        stochastic_spec(dialects::te::info, {.map = map, .from_caller = true, .words = given}), {});
  };
  CHECK(compare(by(ByteMap::hw, words), by(ByteMap::te, swapped)).equal());
  CHECK_FALSE(compare(by(ByteMap::hw, words), by(ByteMap::te, words)).equal());
}

TEST_CASE("stochastic: dialects without it refuse it, and shards start at blocks") {
  CHECK_THROWS_AS(validate(stochastic_spec(dialects::te_ref::info, {})), std::invalid_argument);
  CHECK_THROWS_AS(validate(stochastic_spec(dialects::te::info, {.rule = SrRule::tetrajet})),
                  std::invalid_argument);
  CHECK_THROWS_AS(validate(stochastic_spec(dialects::te::info, {.random = {.col = 8}})),
                  std::invalid_argument);
}

TEST_CASE("stochastic: a diagnosis names the random bits that were taken instead") {
  const Case c = make_cases("random", Dtype::fp32, 3)[0];
  const MatrixView x = c.input.view();
  const Stochastic right{.random = {.seed = 7, .stream = 2}};
  const auto by = [&](std::optional<Stochastic> s) {
    QuantizeSpec spec = default_spec(dialects::te::info);
    spec.stochastic = s;
    return cpu_kernels().quantize(x, spec, {});
  };
  const BlockScaledTensor expected = by(right);
  const auto told = [&](std::optional<Stochastic> s, MatrixView input) {
    const auto causes = diagnose(expected, {by(s)}, input);
    REQUIRE(causes.size() == 1);
    CHECK(causes[0].code == "random_stream");
    return causes[0].text.substr(causes[0].text.rfind(':') + 2);
  };
  Stochastic wrong = right;
  wrong.map = ByteMap::te;
  CHECK(told(wrong, x) == "other random bits, byte map te");
  wrong = right;
  wrong.random.stream = 3;
  CHECK(told(wrong, x) == "other random bits, stream 3");
  CHECK(told(wrong, {}) == "other random bits");
  wrong = right;
  wrong.random.col = 32;
  CHECK(told(wrong, x) == "other random bits, shifted by 2 blocks");
  wrong.random.seed = 8;
  CHECK(told(wrong, x) == "other random bits");
  CHECK(told(std::nullopt, x) == "other random bits, they were rounded to nearest");
}
