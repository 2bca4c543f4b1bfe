#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <vector>

#include <nvfp4/kernels.hpp>

#include "gpu/e2m1.cuh"

using namespace nvfp4;

namespace {

constexpr std::uint64_t patterns = std::uint64_t{1} << 32, step = 1 << 20;

/// How many of all FP32 numbers that `wanted` lets in have another code in the CPU layer.
template <class Own, class Wanted>
std::uint64_t differing(const Encoding& encoding, Own own, Wanted wanted) {
  std::uint64_t count = 0;
#pragma omp parallel for reduction(+ : count) schedule(dynamic)
  for (std::uint64_t first = 0; first < patterns; first += step) {
    std::vector<float> values(step);
    std::vector<std::uint32_t> codes(step);
    for (std::uint64_t i = 0; i < step; ++i)
      values[i] = std::bit_cast<float>(static_cast<std::uint32_t>(first + i));
    cpu_kernels().encode(values, encoding, codes);
    for (std::uint64_t i = 0; i < step; ++i) count += wanted(values[i]) && own(values[i]) != codes[i];
  }
  return count;
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

TEST_CASE("the portable E2M1 code of every FP32 number is the CPU layer's") {
  CHECK(differing({}, gpu::portable::to_e2m1, [](float) { return true; }) == 0);
}

TEST_CASE("the portable E4M3 code of every FP32 number that is not negative is the CPU layer's") {
  CHECK(differing({.format = Format::ue4m3}, gpu::portable::to_e4m3,
                  [](float t) { return t != t || !std::signbit(t); }) == 0);
}

TEST_CASE("stochastic codes are the CPU layer's at and around every step") {
  CHECK(differing_at_random(SrRule::carry, gpu::portable::to_e2m1_carry) == 0);
  CHECK(differing_at_random(SrRule::te_software, gpu::to_e2m1_te_software) == 0);
}
