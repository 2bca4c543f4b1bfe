#pragma once
#include <cstdint>

#include "host_device.hpp"

/// A step of sm100_nvfp4 on integers, as tensorcore.md sections 3 and 7 have it: four groups of 16 products and C,
/// aligned by the exponents of the scales, cut 35 bits below the largest, added, truncated to FP32.
namespace nvfp4::gpu {

constexpr int groups_of_step = 4, group_k = 16, fraction_bits = 35, zero_exponent = -139;

/// Of a block's 16 codes those that k columns have.
NVFP4_HOST_DEVICE inline std::uint64_t codes_mask(std::int64_t k, std::int64_t block) {
  const std::int64_t left = k - block * group_k;
  return left < group_k ? (std::uint64_t{1} << 4 * left) - 1 : ~std::uint64_t{0};
}
constexpr std::uint32_t nan_code = 0x7FFFFFFF, infinity_code = 0x7F800000;

/// sum * 2^(exponent - 8). The exponent is that of both scales, or zero_exponent where every product is zero.
struct Group {
  std::int32_t sum;
  int exponent;
  bool is_nan;
};

/// Twice the magnitude of an E2M1 code.
NVFP4_HOST_DEVICE constexpr int doubled(unsigned code) {
  return static_cast<int>(0x0C08060403020100 >> (8 * (code & 7)) & 15);
}

/// Of UE4M3: significand / 8 * 2^exponent.
NVFP4_HOST_DEVICE constexpr int scale_significand(unsigned scale) {
  return static_cast<int>((scale & 7) + (scale >> 3 & 15 ? 8 : 0));
}
NVFP4_HOST_DEVICE constexpr int scale_exponent(unsigned scale) {
  const int field = static_cast<int>(scale >> 3 & 15);
  return (field ? field : 1) - 7;
}
NVFP4_HOST_DEVICE constexpr bool is_nan_scale(unsigned scale) { return (scale & 0x7F) == 0x7F; }

/// 16 codes of each operand, the first in the lowest bits.
NVFP4_HOST_DEVICE inline Group group_of(std::uint64_t a, unsigned a_scale, std::uint64_t b,
                                        unsigned b_scale) {
  int dot = 0;
  bool zero = true;
  for (int k = 0; k < group_k; ++k, a >>= 4, b >>= 4) {
    const int product = doubled(a & 15) * doubled(b & 15);
    zero = zero && product == 0;
    dot += (a ^ b) & 8 ? -product : product;
  }
  const int significands = scale_significand(a_scale) * scale_significand(b_scale);
  const int exponent = scale_exponent(a_scale) + scale_exponent(b_scale);
  return {dot * significands, zero || significands == 0 ? zero_exponent : exponent,
          is_nan_scale(a_scale) || is_nan_scale(b_scale)};
}

/// x * 2^shift, toward zero.
NVFP4_HOST_DEVICE constexpr std::int64_t cut(std::int64_t x, int shift) {
  if (shift >= 0) return x << shift;
  const std::int64_t magnitude = (x < 0 ? -x : x) >> (shift < -63 ? 63 : -shift);
  return x < 0 ? -magnitude : magnitude;
}

/// FP32 of sum * 2^unit, toward zero; beyond the largest finite number infinity.
NVFP4_HOST_DEVICE inline std::uint32_t truncated(std::int64_t sum, int unit) {
  const std::int64_t magnitude = sum < 0 ? -sum : sum;
  int top = unit - 1;
  for (std::int64_t rest = magnitude; rest; rest >>= 1) ++top;
  if (top < -126) top = -126;
  // The hidden bit adds one to the exponent field.
  const std::int64_t code = cut(magnitude, unit - (top - 23)) + (static_cast<std::int64_t>(top + 126) << 23);
  if (magnitude == 0 || code == 0) return 0;
  return static_cast<std::uint32_t>(code < infinity_code ? code : infinity_code) |
         (sum < 0 ? 0x80000000u : 0);
}

/// The accumulator after the step, both as FP32 codes.
NVFP4_HOST_DEVICE inline std::uint32_t group_step(std::uint32_t c, const Group (&groups)[groups_of_step]) {
  const std::uint32_t magnitude = c & nan_code;
  bool nan = magnitude > infinity_code;
  for (const Group& g : groups) nan = nan || g.is_nan;
  if (nan) return nan_code;
  if (magnitude == infinity_code) return c;

  const int field = static_cast<int>(magnitude >> 23);
  const auto significand = static_cast<std::int64_t>((magnitude & 0x7FFFFF) | (field ? 0x800000 : 0));
  const int c_exponent = (field ? field : 1) - 127;
  int e_max = magnitude ? c_exponent : zero_exponent;
  for (const Group& g : groups) e_max = g.exponent > e_max ? g.exponent : e_max;

  const int unit = e_max - fraction_bits;
  std::int64_t sum = cut(c >> 31 ? -significand : significand, c_exponent - 23 - unit);
  for (const Group& g : groups) sum += cut(g.sum, g.exponent - 8 - unit);
  return truncated(sum, unit);
}

}  // namespace nvfp4::gpu
