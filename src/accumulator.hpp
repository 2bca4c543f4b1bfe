#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

#include <nvfp4/accumulation.hpp>

/// The accumulator's codes: FP32, or FP16 in the low half of a word. Files of several instruction sets include this, so
/// its functions stand in each file's own namespace.
namespace nvfp4::cpu {

struct Target {
  int mantissa_bits, kept_bits, smallest_exponent;
  bool to_nearest;
  std::uint32_t infinity, sign, nan;
};

constexpr Target target(Conversion out) {
  if (out == Conversion::rne_fp16) return {10, 10, -14, true, 0x7C00, 0x8000, 0x7FFF};
  return {23,         out == Conversion::rz_e8m13 ? 13 : 23,
          -126,       out == Conversion::rne_fp32,
          0x7F800000, 0x80000000,
          0x7FFFFFFF};
}

/// significand * 2^(exponent - mantissa_bits); the exponent of subnormals and zero is the smallest.
struct Accumulator {
  std::int64_t significand;
  int exponent;
  bool is_special;  ///< infinity or NaN
};

namespace {

inline Accumulator unpack(std::uint32_t code, const Target& t) {
  const std::uint32_t hidden = 1u << t.mantissa_bits, magnitude = code & (t.sign - 1);
  const int field = static_cast<int>(magnitude >> t.mantissa_bits);
  const std::int64_t significand = (magnitude & (hidden - 1)) | (field ? hidden : 0);
  return {code & t.sign ? -significand : significand, std::max(field, 1) + t.smallest_exponent - 1,
          magnitude >= t.infinity};
}

/// magnitude / 2^shift, cut or to nearest even; magnitude < 2^62.
inline std::int64_t shifted(std::int64_t magnitude, int shift, bool to_nearest) {
  if (shift <= 0) return magnitude << -shift;
  const int right = std::min(shift, 62);
  const std::int64_t whole = magnitude >> right, rest = magnitude - (whole << right);
  const std::int64_t half = std::int64_t{1} << (right - 1);
  return whole + (to_nearest && (rest > half || (rest == half && whole & 1)) ? 1 : 0);
}

/// The code of sum * 2^unit; |sum| < 2^62. A result of zero is +0.
inline std::uint32_t finish(std::int64_t sum, int unit, const Target& t) {
  if (sum == 0) return 0;
  const std::int64_t magnitude = sum < 0 ? -sum : sum;
  const int top =
      std::max(63 - std::countl_zero(static_cast<std::uint64_t>(magnitude)) + unit, t.smallest_exponent);
  const std::int64_t kept = shifted(magnitude, top - t.kept_bits - unit, t.to_nearest);
  // The hidden bit adds one to the exponent field, and so does a carry out of rounding.
  const std::int64_t code = (kept << (t.mantissa_bits - t.kept_bits)) +
                            (static_cast<std::int64_t>(top - t.smallest_exponent) << t.mantissa_bits);
  const auto bits = static_cast<std::uint32_t>(std::min<std::int64_t>(code, t.infinity));
  return sum < 0 && bits != 0 ? bits | t.sign : bits;
}

}  // namespace

/// What the specials of a step come to.
struct Specials {
  bool nan = false, plus = false, minus = false;
  void add_infinity(bool negative) { (negative ? minus : plus) = true; }
  void add(std::uint32_t code, const Target& t) {
    const std::uint32_t magnitude = code & (t.sign - 1);
    if (magnitude > t.infinity) nan = true;
    if (magnitude == t.infinity) add_infinity((code & t.sign) != 0);
  }
  std::uint32_t code(const Target& t) const {
    return nan || (plus && minus) ? t.nan : plus ? t.infinity : t.infinity | t.sign;
  }
};

namespace {

/// c + d, each an accumulator's code, in one rounding. Beyond 38 binades apart the smaller moves at most the last
/// bit of an integer that is cut or rounded far above it, so one unit stands for it.
inline std::uint32_t add(std::uint32_t c, std::uint32_t d, const Target& t) {
  Specials specials;
  specials.add(c, t), specials.add(d, t);
  if (specials.nan || specials.plus || specials.minus) return specials.code(t);
  if (c == t.sign && d == t.sign) return t.sign;
  Accumulator high = unpack(c, t), low = unpack(d, t);
  if (high.exponent < low.exponent) std::swap(high, low);
  constexpr int most = 38;
  const int apart = high.exponent - low.exponent;
  const int sign = (low.significand > 0) - (low.significand < 0);
  const std::int64_t sum =
      apart <= most ? (high.significand << apart) + low.significand : (high.significand << most) + sign;
  return finish(sum, high.exponent - std::min(apart, most) - t.mantissa_bits, t);
}

}  // namespace
}  // namespace nvfp4::cpu
