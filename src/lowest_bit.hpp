#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

namespace nvfp4::cpu {

/// The exponent of the largest power of two of which x, finite and not 0, is a multiple.
inline int lowest_bit(double x) {
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const auto field = static_cast<int>(bits >> 52 & 0x7FF);
  const std::uint64_t significand = (bits & 0xFFFFFFFFFFFFF) | (field ? 0x10000000000000 : 0);
  return std::max(field, 1) - 1075 + std::countr_zero(significand);
}

}  // namespace nvfp4::cpu
