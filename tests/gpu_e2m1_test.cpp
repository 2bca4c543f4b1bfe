#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <numeric>
#include <span>
#include <vector>

#include <nvfp4/kernels.hpp>

#include "gpu/e2m1.cuh"

using namespace nvfp4;

namespace {

/// Steps lie where the last byte is 0. Those that end so, just before, just after, and in between.
constexpr std::uint32_t last_bytes[] = {0x00, 0x01, 0x7F, 0x80, 0xFF};

/// How many of the FP32 numbers that end in these bytes and `wanted` lets in have another code in the CPU layer.
template <class Own, class Wanted>
std::uint64_t differing(const Encoding& encoding, std::span<const std::uint32_t> ends, Own own,
                        Wanted wanted) {
  constexpr std::uint32_t beginnings = 1 << 24, step = 1 << 12;
  std::uint64_t count = 0;
#pragma omp parallel for reduction(+ : count) schedule(dynamic)
  for (std::uint32_t first = 0; first < beginnings; first += step) {
    std::vector<float> values;
    for (std::uint32_t i = first; i < first + step; ++i)
      for (const std::uint32_t end : ends)
        if (const auto value = std::bit_cast<float>(i << 8 | end); wanted(value)) values.push_back(value);
    std::vector<std::uint32_t> codes(values.size());
    cpu_kernels().encode(values, encoding, codes);
    for (std::size_t i = 0; i < values.size(); ++i) count += own(values[i]) != codes[i];
  }
  return count;
}

std::uint64_t differing_e2m1(std::span<const std::uint32_t> ends) {
  return differing({}, ends, gpu::portable::to_e2m1, [](float) { return true; });
}

std::uint64_t differing_e4m3(std::span<const std::uint32_t> ends) {
  return differing({.format = Format::ue4m3}, ends, gpu::portable::to_e4m3,
                   [](float t) { return t != t || !std::signbit(t); });
}

std::vector<std::uint32_t> every_byte() {
  std::vector<std::uint32_t> bytes(256);
  std::iota(bytes.begin(), bytes.end(), 0u);
  return bytes;
}

/// Around every code's value and every midpoint, at every 256th between, and what is no number.
std::vector<float> stochastic_boundaries() {
  std::vector<float> magnitudes = {0,    0x1p-149f, 0x1p-126f, 0x1p-10f, 0x1p-9f - 0x1p-33f,
                                   6.5f, 7,         0x1p100f,  INFINITY, NAN};
  for (int i = 0; i <= 6 * 512; ++i) {
    const float x = static_cast<float>(i) / 512;
    for (const float near : {std::nextafterf(x, 0), x, std::nextafterf(x, 8), x + 0x1p-10f})
      magnitudes.push_back(near);
  }
  std::vector<float> both = magnitudes;
  for (const float x : magnitudes) both.push_back(-x);
  return both;
}

template <class Own>
std::uint64_t differing_at_random(SrRule rule, Own own) {
  std::uint64_t count = 0;
  const std::vector<float> values = stochastic_boundaries();
  std::vector<std::uint32_t> codes(values.size());
  for (std::uint32_t r = 0; r < 256; ++r) {
    cpu_kernels().encode_stochastic(values, std::vector<std::uint32_t>(values.size(), r), {.rule = rule},
                                    codes);
    for (std::size_t i = 0; i < values.size(); ++i) count += own(values[i], r) != codes[i];
  }
  return count;
}

}  // namespace

TEST_CASE("the portable E2M1 and E4M3 codes at and around every step are the CPU layer's") {
  CHECK(differing_e2m1(last_bytes) == 0);
  CHECK(differing_e4m3(last_bytes) == 0);
}

TEST_SUITE("full") {
  TEST_CASE("the portable E2M1 code of every FP32 number is the CPU layer's") {
    CHECK(differing_e2m1(every_byte()) == 0);
  }

  TEST_CASE("the portable E4M3 code of every FP32 number that is not negative is the CPU layer's") {
    CHECK(differing_e4m3(every_byte()) == 0);
  }
}

TEST_CASE("stochastic codes are the CPU layer's at and around every step") {
  CHECK(differing_at_random(SrRule::carry, gpu::portable::to_e2m1_carry) == 0);
  CHECK(differing_at_random(SrRule::te_software, gpu::to_e2m1_te_software) == 0);
}
