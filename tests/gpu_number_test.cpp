#include <doctest/doctest.h>

#include <bit>
#include <random>
#include <vector>

#include <nvfp4/kernels.hpp>

#include "gpu/number.cuh"

using namespace nvfp4;
using gpu::Number;

/// The GPU layer's arithmetic, run by the host: every primitive against the CPU layer's codes.
namespace {

float number(std::uint32_t bits) { return std::bit_cast<float>(bits); }
std::uint32_t pattern(float x) { return std::bit_cast<std::uint32_t>(x); }

/// Many bit patterns: random ones, each exponent's edges, and both sides of all halves of small numbers.
std::vector<float> patterns() {
  std::vector<float> x;
  std::mt19937 random(1);
  for (int i = 0; i < 200000; ++i) x.push_back(number(random()));
  for (std::uint32_t exponent = 0; exponent < 256; ++exponent)
    for (const std::uint32_t mantissa :
         {0u, 1u, 0x3FFFFFu, 0x400000u, 0x400001u, 0x7FFFFFu, 0x80000u, 0x7FFFu, 0x8000u})
      for (const std::uint32_t sign : {0u, 0x80000000u})
        x.push_back(number(sign | exponent << 23 | mantissa));
  for (int i = -4096; i <= 4096; ++i)
    for (const float scale : {0x1p-10f, 0x1p-13f, 0.125f, 1.f})
      for (const std::uint32_t step : {~0u, 0u, 1u})
        x.push_back(number(pattern(static_cast<float>(i) * scale) + step));
  return x;
}

template <class Code>
void check_codes(const Encoding& encoding, const std::vector<float>& x, Code code) {
  std::vector<std::uint32_t> expected(x.size());
  cpu_kernels().encode(x, encoding, expected);
  std::size_t different = 0;
  for (std::size_t i = 0; i < x.size(); ++i) different += code(Number(x[i])) != expected[i];
  CHECK(different == 0);
}

template <class Code>
void check_stochastic(SrRule rule, Code code) {
  const std::vector<float> x = patterns();
  std::vector<std::uint32_t> random(x.size()), expected(x.size());
  for (const std::uint32_t add : {0u, 1u, 127u, 128u, 255u}) {
    for (std::size_t i = 0; i < x.size(); ++i) random[i] = (i / 3 + add) % 256;
    cpu_kernels().encode_stochastic(x, random, {.rule = rule}, expected);
    std::size_t different = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
      different += code(Number(x[i]), gpu::Code(random[i])).bits != expected[i];
    CHECK(different == 0);
  }
}

std::vector<float> magnitudes() {
  std::vector<float> x = patterns();
  for (float& a : x) a = number(pattern(a) & 0x7FFFFFFF);
  return x;
}

}  // namespace

TEST_CASE("the GPU's number rounds to E2M1 and E4M3 as the CPU layer does") {
  check_codes({.format = Format::e2m1}, patterns(), [](Number y) { return gpu::e2m1_satfinite(y).bits; });
  check_codes({.format = Format::ue4m3}, magnitudes(),
              [](Number y) { return gpu::e4m3_satfinite(y).code.bits; });
  check_codes({.format = Format::ue4m3, .rounding = Rounding::up}, magnitudes(),
              [](Number y) { return gpu::e4m3_up(y).code.bits; });
}

TEST_CASE("the GPU's number rounds to BF16, FP16 and powers of two as the CPU layer does") {
  const auto high = [](Number y) { return pattern(gpu::to_bf16(y).value) >> 16; };
  std::vector<float> numbers = patterns();
  std::erase_if(numbers, [](float x) { return x != x; });
  check_codes({.format = Format::bf16, .overflow = Overflow::special}, numbers, high);
  CHECK(pattern(gpu::to_bf16(Number(number(0xFFC00001))).value) == 0x7FC00000);
  std::vector<std::uint32_t> codes(numbers.size());
  std::vector<float> values(numbers.size());
  cpu_kernels().encode(numbers, {.format = Format::fp16, .overflow = Overflow::special}, codes);
  cpu_kernels().decode(codes, Format::fp16, values);
  std::size_t different = 0;
  for (std::size_t i = 0; i < numbers.size(); ++i)
    different += pattern(gpu::to_fp16(Number(numbers[i])).value) != pattern(values[i]);
  CHECK(different == 0);
}

TEST_CASE("the GPU's number rounds stochastically as the CPU layer does") {
  check_stochastic(SrRule::carry, gpu::e2m1_carry);
  check_stochastic(SrRule::te_software, gpu::e2m1_te_software);
}

TEST_CASE("the GPU's number decodes every E2M1, E4M3 and E8M0 code") {
  std::vector<std::uint32_t> codes(256);
  std::vector<float> values(256);
  for (std::uint32_t i = 0; i < 256; ++i) codes[i] = i;
  const auto same = [](Number a, float b) {
    return (a.value != a.value && b != b) || pattern(a.value) == pattern(b);
  };
  cpu_kernels().decode(codes, Format::e4m3, values);
  for (std::uint32_t i = 0; i < 256; ++i) CHECK(same(gpu::signed_e4m3_value(i), values[i]));
  cpu_kernels().decode(codes, Format::e8m0, values);
  for (std::uint32_t i = 0; i < 256; ++i) CHECK(same(gpu::e8m0_value(i), values[i]));
  codes.resize(16), values.resize(16);
  cpu_kernels().decode(codes, Format::e2m1, values);
  for (std::uint32_t i = 0; i < 16; ++i) CHECK(same(Number::e2m1_value(gpu::Code(i)), values[i]));
}
