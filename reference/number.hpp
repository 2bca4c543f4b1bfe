#pragma once
#include <bit>
#include <cstdint>

#include <nvfp4/arithmetic.hpp>

#include <nvfp4/rcp_approx.hpp>

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
  static Number e2m1_value(reference::Code code) { return Number(decode(code.bits, Format::e2m1)); }
};

struct Scale {
  Code code;
  Number value;
};

inline Code operator|(Code a, Code b) { return Code(a.bits | b.bits); }
inline Number operator*(Number a, Number b) { return Number(multiply(a.value, b.value)); }
inline Number operator/(Number a, Number b) { return Number(divide(a.value, b.value)); }
inline Number operator+(Number a, Number b) { return Number(add(a.value, b.value)); }
inline Number operator-(Number a, Number b) { return Number(add(a.value, negated(b.value))); }
inline Number multiply_add(Number a, Number b, Number c) {
  return Number(multiply_add(a.value, b.value, c.value));
}
inline bool is_nan(Number a) { return is_nan(a.value); }
inline bool any_nan(Number a) { return is_nan(a); }
inline bool has_sign(Number a) { return std::bit_cast<std::uint32_t>(a.value) >> 31; }

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
inline Number max_nan(Number a, Number bound) { return a < bound ? bound : a; }
inline Code negative(Number y) { return Code(y < Number(0) ? 8 : 0); }

inline Number ftz(Number a) {
  const bool subnormal = abs(a) < Number(flt_min);
  return subnormal ? Number(with_product_sign(0, a.value, 1)) : a;
}

/// Through the format's code. NaN comes out as 0x7FC00000.
inline Number through(Number a, Format format) {
  if (is_nan(a)) return Number(default_nan());
  return Number(decode(encode(a.value, {.format = format, .overflow = Overflow::special}), format));
}
inline Number to_bf16(Number a) { return through(a, Format::bf16); }
inline Number to_fp16(Number a) { return through(a, Format::fp16); }

/// Measured, not derived: nvfp4/rcp_approx.hpp.
inline Number rcp_approx_ftz(Number a) { return Number(nvfp4::rcp_approx_ftz(a.value)); }

inline Scale e4m3(Number t, Rounding rounding) {
  const std::uint32_t code = encode(t.value, {.format = Format::ue4m3, .rounding = rounding});
  return {Code(code), Number(decode(code, Format::ue4m3))};
}
inline Scale e4m3_satfinite(Number t) { return e4m3(t, Rounding::nearest_even); }
inline Scale e4m3_up(Number t) { return e4m3(t, Rounding::up); }

/// Normal results: halves go up, in integers. Below 2^-6, t * 512 + 0.5 is cut, that sum rounded by FP32, and
/// what would carry into the normals stays below. From 248 on, the carry reaches exponent 15, which is 448.
inline Scale e4m3_ggml(Number t) {
  std::uint32_t code = 0x7E;
  if (t < Number(0x1p-6f)) {
    const Number cut = t * Number(512) + Number(0.5f);
    code = 0;
    while (code < 7 && !(cut < Number(static_cast<float>(code + 1)))) ++code;
  } else if (t < Number(248)) {
    code = encode(t.value, {.format = Format::ue4m3, .rounding = Rounding::ties_away});
  }
  return {Code(code), Number(decode(code, Format::ue4m3))};
}

/// The power of two by definition: the largest not above |a|, or the one above where the rule says so.
inline Scale e8m0(Number a, int shift, Rounding rounding) {
  if (is_nan(a)) return {Code(0xFF), Number(default_nan())};
  std::uint32_t code = 254;
  if (!is_inf(a.value)) {
    const Dyadic x{exact(a.value).significand, exact(a.value).exponent + shift};
    const Dyadic threshold_factor = rounding == Rounding::toward_zero ? Dyadic{2, 0}
                                    : rounding == Rounding::up        ? Dyadic{1, 0}
                                                                      : Dyadic{7, -2};
    code = 0;
    // code stands while x lies below its threshold, or on it where rounding up.
    const auto passes = [&](const Dyadic& bound) {
      return rounding == Rounding::up ? bound < x : !(x < bound);
    };
    while (code < 254 && passes(threshold_factor * Dyadic{1, static_cast<int>(code) - 127})) ++code;
  }
  return {Code(code), Number(decode(code, Format::e8m0))};
}

inline Code e2m1_satfinite(Number y) { return Code(encode(y.value, {.format = Format::e2m1})); }
inline Code e2m1_magnitude(Number y) { return Code(encode(abs(y).value, {.format = Format::e2m1})); }

/// Literally: the codes in order, and the first that no later one undercuts. No distance is NaN's.
inline Code e2m1_nearest_first(Number x, Number d) {
  Number least(infinity());
  std::uint32_t first = 0;
  for (std::uint32_t code = 0; code < 16; ++code) {
    const Number distance = abs(Number::e2m1_value(Code(code)) * d - x);
    if (distance < least) least = distance, first = code;
  }
  return Code(first);
}

/// y on the grid of halves, ones or twos, by its magnitude; then sign | (exponent - 126) * 2 | top fraction bit
/// of the BF16 pattern, cut to a nibble. The grids' masks make NaN of Inf, and NaN has x86's sign.
inline Code e2m1_from_bf16(Number y) {
  if (is_nan(y) || is_inf(y.value)) return Code(11);
  const Number a = abs(y);
  const bool past_grid = !(a < Number(7));
  if (!past_grid) return Code(e2m1_magnitude(y).bits | negative(y).bits);
  const std::uint32_t sign = negative(y).bits;
  const Dyadic half_units = half(exact(a.value));  // of the grid of twos
  const cpp_int n = round_half_even(half_units.significand, -half_units.exponent);
  const auto top = static_cast<int>(msb(n));  // q = 2 n
  const auto fraction = static_cast<std::uint32_t>((n >> (top - 1)) & 1);
  return Code(((static_cast<std::uint32_t>(top + 1 + 127 - 126) * 2 + fraction) & 15) | sign);
}

}  // namespace nvfp4::reference
