#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include <boost/multiprecision/cpp_int.hpp>

/// Exact numbers and the two FP32 operations, computed with integers alone: no floating-point
/// instruction, so neither a compiler flag nor the machine's rounding state can reach the reference.
namespace nvfp4::reference {

using boost::multiprecision::cpp_int;

/// significand * 2^exponent, exactly. Many pairs name one number; compare by == and <, not by member.
struct Dyadic {
  cpp_int significand = 0;
  int exponent = 0;
};

inline cpp_int in_units_of(int exponent, const Dyadic& x) { return x.significand << (x.exponent - exponent); }

inline Dyadic operator+(const Dyadic& a, const Dyadic& b) {
  const int e = std::min(a.exponent, b.exponent);
  return {in_units_of(e, a) + in_units_of(e, b), e};
}

inline Dyadic operator*(const Dyadic& a, const Dyadic& b) {
  return {a.significand * b.significand, a.exponent + b.exponent};
}

inline bool operator<(const Dyadic& a, const Dyadic& b) {
  const int e = std::min(a.exponent, b.exponent);
  return in_units_of(e, a) < in_units_of(e, b);
}

inline bool operator==(const Dyadic& a, const Dyadic& b) { return !(a < b) && !(b < a); }

inline Dyadic operator-(const Dyadic& x) { return {-x.significand, x.exponent}; }

inline Dyadic half(const Dyadic& x) { return {x.significand, x.exponent - 1}; }

inline bool is_nan(float x) { return (std::bit_cast<std::uint32_t>(x) & 0x7FFFFFFF) > 0x7F800000; }
inline bool is_inf(float x) { return (std::bit_cast<std::uint32_t>(x) & 0x7FFFFFFF) == 0x7F800000; }
inline bool is_zero(float x) { return (std::bit_cast<std::uint32_t>(x) & 0x7FFFFFFF) == 0; }

/// The value of a finite x; the sign of zero is lost.
inline Dyadic exact(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const int field = bits >> 23 & 0xFF;
  const int fraction = bits & 0x7FFFFF;
  const int magnitude = field ? fraction + 0x800000 : fraction;
  return {bits >> 31 ? -magnitude : magnitude, std::max(field, 1) - 150};
}

/// magnitude / 2^shift to the nearest integer, ties to even.
inline cpp_int round_half_even(const cpp_int& magnitude, int shift) {
  if (shift <= 0) return magnitude << -shift;
  cpp_int quotient = magnitude >> shift;
  const cpp_int rest = magnitude - (quotient << shift);
  const cpp_int half = cpp_int(1) << (shift - 1);
  if (rest > half || (rest == half && (quotient & 1) != 0)) ++quotient;
  return quotient;
}

/// The nearest FP32, ties to even; subnormals kept, overflow to Inf. Zero gives +0; a negative value
/// that underflows gives -0.
inline float round_to_fp32(const Dyadic& x) {
  if (x.significand == 0) return 0;
  const cpp_int magnitude = abs(x.significand);
  const int top = static_cast<int>(msb(magnitude)) + x.exponent;  // floor(log2 |x|)
  const int ulp = std::max(top - 23, -149);
  const auto rounded = static_cast<std::int64_t>(round_half_even(magnitude, ulp - x.exponent));
  // The hidden bit of `rounded` adds one to the exponent field, and so does a carry out of rounding.
  const std::int64_t pattern = rounded + (std::int64_t{ulp} + 149) * 0x800000;
  const auto bits = static_cast<std::uint32_t>(std::min<std::int64_t>(pattern, 0x7F800000));
  return std::bit_cast<float>(bits | (x.significand < 0 ? 0x80000000 : 0));
}

inline float negated(float x) { return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) ^ 0x80000000); }

inline float default_nan() { return std::bit_cast<float>(0x7FC00000); }

/// The FP32 with the magnitude of `magnitude` and the sign of a * b.
inline float with_product_sign(float magnitude, float a, float b) {
  const auto bits = [](float x) { return std::bit_cast<std::uint32_t>(x); };
  return std::bit_cast<float>((bits(magnitude) & 0x7FFFFFFF) | ((bits(a) ^ bits(b)) & 0x80000000));
}

inline float infinity() { return std::bit_cast<float>(0x7F800000); }

/// IEEE binary32 a * b, RNE. Every NaN that comes out is 0x7FC00000.
inline float multiply(float a, float b) {
  if (is_nan(a) || is_nan(b)) return default_nan();
  if ((is_inf(a) && is_zero(b)) || (is_zero(a) && is_inf(b))) return default_nan();
  if (is_inf(a) || is_inf(b)) return with_product_sign(infinity(), a, b);
  return with_product_sign(round_to_fp32(exact(a) * exact(b)), a, b);
}

/// a / b for finite a and finite nonzero b, cut after at least 27 bits, with a last bit that says whether
/// anything was cut: enough to round to 24 bits or fewer as the quotient itself would.
inline Dyadic sticky_quotient(const Dyadic& a, const Dyadic& b) {
  const cpp_int numerator = a.significand << 50;
  const cpp_int quotient = numerator / b.significand;
  const bool cut = numerator % b.significand != 0;
  return {abs(quotient) * 2 + (cut ? 1 : 0), a.exponent - b.exponent - 51};
}

/// IEEE binary32 a / b, RNE. Every NaN that comes out is 0x7FC00000.
inline float divide(float a, float b) {
  if (is_nan(a) || is_nan(b)) return default_nan();
  if ((is_inf(a) && is_inf(b)) || (is_zero(a) && is_zero(b))) return default_nan();
  if (is_inf(a) || is_zero(b)) return with_product_sign(infinity(), a, b);
  if (is_inf(b) || is_zero(a)) return with_product_sign(0, a, b);
  return with_product_sign(round_to_fp32(sticky_quotient(exact(a), exact(b))), a, b);
}

/// IEEE binary32 a + b, RNE. An exact zero is +0, but -0 of two negative zeros. Every NaN is 0x7FC00000.
inline float add(float a, float b) {
  if (is_nan(a) || is_nan(b)) return default_nan();
  if (is_inf(a) && is_inf(b))
    return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) ? a : default_nan();
  if (is_inf(a)) return a;
  if (is_inf(b)) return b;
  if (is_zero(a) && is_zero(b) && std::signbit(a) && std::signbit(b)) return a;
  return round_to_fp32(exact(a) + exact(b));
}

/// IEEE binary32 a * b + c with one rounding. Zeros and NaN as in add().
inline float multiply_add(float a, float b, float c) {
  const auto is_number = [](float x) { return !is_nan(x) && !is_inf(x); };
  if (!is_number(a) || !is_number(b)) return add(multiply(a, b), c);
  if (!is_number(c) || is_zero(a) || is_zero(b)) return add(with_product_sign(0, a, b), c);
  return round_to_fp32(exact(a) * exact(b) + exact(c));
}

}  // namespace nvfp4::reference
