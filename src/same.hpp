#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

#include <nvfp4/dialect.hpp>

/// What is equal beside ==, by the rule of `nvfp4 golden check`: a NaN equals a NaN, whatever its sign and payload.
namespace nvfp4 {

/// Of a block scale as it is stored: bit 7 is a sign in E4M3.
inline bool is_nan_scale(std::uint8_t scale, const Dialect& dialect) {
  return dialect.scale == Format::e8m0 ? scale == 0xFF : (scale & 0x7F) == 0x7F;
}
inline bool same_scale(std::uint8_t a, std::uint8_t b, const Dialect& dialect) {
  return a == b || (is_nan_scale(a, dialect) && is_nan_scale(b, dialect));
}
inline bool same_value(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }
inline bool same_bits(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

}  // namespace nvfp4
