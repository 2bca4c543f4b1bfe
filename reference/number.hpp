#pragma once
#include <bit>
#include <cstdint>

#include <nvfp4/arithmetic.hpp>

#include "exact.hpp"
#include "formats.hpp"

/// The reference's FP32 number: the primitives of include/nvfp4/arithmetic.hpp, each computed exactly
/// and rounded once by comparison. The machine's own multiplier and divider are never asked.
namespace nvfp4::reference {

struct Code {
  std::uint32_t bits;
  explicit Code(std::uint32_t bits) : bits(bits) {}
};

struct Number {
  using Code = reference::Code;
  float value;
  explicit Number(float value) : value(value) {}
};

struct E4M3Scale {
  Code code;
  Number value;
};

inline Code operator|(Code a, Code b) { return Code(a.bits | b.bits); }
inline Number operator*(Number a, Number b) { return Number(multiply(a.value, b.value)); }
inline Number operator/(Number a, Number b) { return Number(divide(a.value, b.value)); }
inline bool is_nan(Number a) { return is_nan(a.value); }

/// Ascends with the value of whatever is not NaN; both zeros are 0.
inline std::int64_t rank(Number a) {
  const auto bits = std::bit_cast<std::uint32_t>(a.value);
  const auto magnitude = static_cast<std::int64_t>(bits & 0x7FFFFFFF);
  return bits >> 31 ? -magnitude : magnitude;
}
inline bool operator==(Number a, Number b) { return !is_nan(a) && !is_nan(b) && rank(a) == rank(b); }
inline bool operator<(Number a, Number b) { return !is_nan(a) && !is_nan(b) && rank(a) < rank(b); }
inline Number abs(Number a) { return Number(with_product_sign(a.value, 1, 1)); }

inline Number select(bool mask, Number x, Number y) { return mask ? x : y; }
inline Code select(bool mask, Code x, Code y) { return mask ? x : y; }
inline Number min_num(Number a, Number bound) { return a < bound ? a : bound; }
inline Number min_nan(Number a, Number bound) { return bound < a ? bound : a; }
inline Code negative(Number y) { return Code(y < Number(0) ? 8 : 0); }

inline E4M3Scale e4m3_satfinite(Number t) {
  const std::uint32_t code = encode(t.value, {.format = Format::ue4m3});
  return {Code(code), Number(decode(code, Format::ue4m3))};
}

inline Code e2m1_satfinite(Number y) { return Code(encode(y.value, {.format = Format::e2m1})); }
inline Code e2m1_magnitude(Number y) { return Code(encode(abs(y).value, {.format = Format::e2m1})); }

}  // namespace nvfp4::reference
