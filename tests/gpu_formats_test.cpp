#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include <nvfp4/kernels.hpp>

#include "gpu/formats.cuh"
#include "gpu/formats.hpp"
#include "tests/gpu_memory.hpp"
#include "tests/sweep.hpp"

using namespace nvfp4;
using namespace gpu_memory;
using Words = std::vector<std::uint32_t>;
using Floats = std::vector<float>;

namespace {

Words encoded(const Floats& values, const Encoding& e, Where where) {
  Buffer<float> in(where, values);
  Buffer<std::uint32_t> out(where, values.size());
  const auto n = std::ssize(values);
  if (where == Where::host)
    each(n, gpu::Encode{in.data(), gpu::encoder(e), out.data()});
  else
    gpu::encode(in.data(), n, e, out.data(), nullptr);
  return out.values();
}

Words encoded(const Floats& values, const Words& random, const StochasticEncoding& e, Where where) {
  Buffer<float> in(where, values);
  Buffer<std::uint32_t> bits(where, random), out(where, values.size());
  const auto n = std::ssize(values);
  if (where == Where::host)
    each(n, gpu::EncodeStochastic{in.data(), bits.data(), gpu::encoder(e), out.data()});
  else
    gpu::encode_stochastic(in.data(), bits.data(), n, e, out.data(), nullptr);
  return out.values();
}

Words decoded(const Words& codes, Format format, Where where) {
  Buffer<std::uint32_t> in(where, codes);
  Buffer<float> out(where, codes.size());
  const auto n = std::ssize(codes);
  if (where == Where::host)
    each(n, gpu::Decode{in.data(), gpu::code_fields(format), out.data()});
  else
    gpu::decode(in.data(), n, format, out.data(), nullptr);
  Words patterns;
  for (const float x : out.values()) patterns.push_back(std::bit_cast<std::uint32_t>(x));
  return patterns;
}

/// Patterns of every exponent, and both sides of whatever a rounding decides.
Floats hard_values(std::size_t count) {
  std::mt19937 random(11);
  Floats values;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t pattern = static_cast<std::uint32_t>(random());
    if (i % 3) pattern &= ~0u << (random() % 24);
    if (i % 5 == 0) pattern += static_cast<std::uint32_t>(random() % 3) - 1;
    values.push_back(std::bit_cast<float>(pattern));
  }
  for (const float x : {0.f, -0.f, INFINITY, -INFINITY, 6.f, 448.f, 0x1.fep127f, NAN, -NAN})
    values.push_back(x);
  return values;
}

}  // namespace

TEST_CASE_TEMPLATE("gpu formats: every encoding at both sides of every step and all BF16 numbers" *
                       doctest::test_suite("sweep"),
                   Place, OnHost, OnDevice) {
  for (const Where where : places<Place>())
    for (const Encoding& e : testing::every_encoding()) {
      const auto steps = reference::staircase(e);
      const Floats values = testing::witnesses(steps, steps.size() > 100000 ? 61 : 1);
      const testing::Differences found =
          testing::compare_at(values, steps, [&](std::span<const float>, std::span<std::uint32_t> codes) {
            std::ranges::copy(encoded(values, e, where), codes.begin());
          });
      INFO(testing::describe(e), ": ", testing::describe(found));
      CHECK(found.count == 0);
    }
}

TEST_CASE_TEMPLATE("gpu formats: every code", Place, OnHost, OnDevice) {
  for (const Where where : places<Place>())
    for (const FormatInfo& f : formats()) {
      Words codes;
      for (std::uint32_t i = 0; i < 1u << std::min(f.bits, 16); ++i)
        codes.push_back(f.bits == 32 ? i << 13 | 5 : i);
      for (std::uint32_t i = 0; i < 1u << 19 && f.bits == 32; ++i) codes.push_back(i << 13);
      for (std::uint32_t i = 0; i < 300; ++i)
        codes.push_back(i * 0x01234567);  // bits above the format's are ignored
      Floats expected(codes.size());
      reference_kernels().decode(codes, f.format, expected);
      Words patterns;
      for (const float x : expected) patterns.push_back(std::bit_cast<std::uint32_t>(x));
      CAPTURE(f.name);
      CHECK(decoded(codes, f.format, where) == patterns);
    }
}

TEST_CASE_TEMPLATE("gpu formats: stochastic rounding by every rule, format and number of bits", Place, OnHost,
                   OnDevice) {
  std::vector<StochasticEncoding> all{{Format::e2m1, SrRule::te_software, 8},
                                      {Format::e2m1, SrRule::tetrajet, 23}};
  for (const Format format : {Format::e2m1, Format::e4m3, Format::bf16})
    for (const int bits : {1, 2, 3, 7, 8, 9, 13, 16, 23, 24, 31, 32})
      all.push_back({format, SrRule::carry, bits});
  const Floats values = hard_values(20000);
  std::mt19937 random(5);
  for (const Where where : places<Place>())
    for (const StochasticEncoding& e : all) {
      Words draws;
      for (std::size_t i = 0; i < values.size(); ++i)
        draws.push_back(
            i % 7 == 0 ? 0u : (i % 7 == 1 ? ~0u : static_cast<std::uint32_t>(random())) >> (32 - e.bits));
      Words expected(values.size());
      reference_kernels().encode_stochastic(values, draws, e, expected);
      CAPTURE(info(e.format).name);
      CAPTURE(name(e.rule));
      CAPTURE(e.bits);
      CHECK(encoded(values, draws, e, where) == expected);
    }
}

TEST_CASE_TEMPLATE("gpu formats: all 8-bit draws of E2M1 near its grid", Place, OnHost, OnDevice) {
  Floats values;
  for (int i = -1700; i <= 1700; ++i) values.push_back(static_cast<float>(i) / 256);
  for (const Where where : places<Place>())
    for (const SrRule rule : {SrRule::carry, SrRule::te_software})
      for (std::uint32_t r = 0; r < 256; r += 5) {
        const StochasticEncoding e{Format::e2m1, rule, 8};
        const Words draws(values.size(), r);
        Words expected(values.size());
        reference_kernels().encode_stochastic(values, draws, e, expected);
        CHECK(encoded(values, draws, e, where) == expected);
      }
}

TEST_CASE_TEMPLATE("gpu formats: random words", Place, OnHost, OnDevice) {
  for (const Where where : places<Place>())
    for (const int rounds : {7, 10})
      for (const std::int64_t row : {std::int64_t{0}, std::int64_t{5}, (std::int64_t{1} << 40) + 3}) {
        const RandomBits bits{0x0123456789ABCDEF, 0xFEDCBA9876543210, rounds, 1 - row, 16 * 77};
        Words expected(4 * 33);
        reference_kernels().random_words(bits, row, 3, expected);
        Buffer<std::uint32_t> words(where, expected.size());
        if (where == Where::host)
          each(33, gpu::Draw{bits, row, 3, words.data()});
        else
          gpu::random_words(bits, row, 3, 33, words.data(), nullptr);
        CHECK(words.values() == expected);
      }
}
