#pragma once
#include <algorithm>
#include <cstdint>

#include <nvfp4/formats.hpp>

#include "exact.hpp"

/// A number as a matrix instruction takes it: significand and exponent as they stand in the code.
namespace nvfp4::reference {

struct Fields {
  int exponent_bits, mantissa_bits, bias, dropped_bits;
  bool has_sign, has_infinity, has_nan;
  int max_exponent() const { return (1 << exponent_bits) - 1; }
};

inline Fields fields(Format format) {
  const FormatInfo& f = info(format);
  const int dropped_bits = format == Format::tf32 ? 13 : 0;
  return {f.exponent_bits, f.mantissa_bits, f.bias, dropped_bits, f.has_sign, f.has_infinity, f.has_nan};
}
inline constexpr Fields fp16_fields{5, 10, 15, 0, true, true, true},
    fp32_fields{8, 23, 127, 0, true, true, true}, fp64_fields{11, 52, 1023, 0, true, true, true};

/// (-1)^negative * significand * 2^(exponent - fraction_bits), or an infinity or NaN. The exponent is the format's
/// field without bias, that of subnormals and zero being the smallest: nothing is normalised.
struct Factor {
  std::int64_t significand = 1;
  int exponent = 0, fraction_bits = 0;
  bool negative = false, is_infinite = false, is_nan = false;

  bool is_zero() const { return significand == 0 && !is_infinite && !is_nan; }
  Dyadic value() const { return {negative ? -significand : significand, exponent - fraction_bits}; }
};

inline Factor factor(std::uint64_t code, const Fields& f) {
  const std::uint64_t magnitude =
      code >> f.dropped_bits & ((std::uint64_t{1} << (f.exponent_bits + f.mantissa_bits)) - 1);
  const std::uint64_t hidden = std::uint64_t{1} << f.mantissa_bits, fraction = magnitude & (hidden - 1);
  const int field = static_cast<int>(magnitude >> f.mantissa_bits);
  const bool last_field = field == f.max_exponent();
  return {.significand = static_cast<std::int64_t>(field ? hidden + fraction : fraction),
          .exponent = std::max(field, 1) - f.bias,
          .fraction_bits = f.mantissa_bits,
          .negative = f.has_sign && (code >> (f.dropped_bits + f.exponent_bits + f.mantissa_bits) & 1),
          .is_infinite = f.has_infinity && last_field && fraction == 0,
          .is_nan = last_field && (f.has_infinity ? fraction != 0 : f.has_nan && fraction == hidden - 1)};
}

/// 2^(code - 127), without fraction bits, subnormals or zero.
inline Factor e8m0_factor(std::uint64_t code) {
  return {.exponent = static_cast<int>(code) - 127, .is_nan = code == 0xFF};
}

inline Factor factor(std::uint64_t code, Format format) {
  return format == Format::e8m0 ? e8m0_factor(code) : factor(code, fields(format));
}

/// a * b * scale of a * scale of b.
struct Product {
  Factor a, b, a_scale, b_scale;

  bool is_zero() const { return a.is_zero() || b.is_zero() || a_scale.is_zero() || b_scale.is_zero(); }
  bool is_infinite() const { return a.is_infinite || b.is_infinite; }
  bool is_nan() const {
    return a.is_nan || b.is_nan || a_scale.is_nan || b_scale.is_nan || (is_infinite() && is_zero());
  }
  bool negative() const { return a.negative != b.negative; }
  Dyadic value() const { return a.value() * b.value() * a_scale.value() * b_scale.value(); }
  int scale_exponent() const { return a_scale.exponent + b_scale.exponent; }
  int exponent() const { return a.exponent + b.exponent + scale_exponent(); }
};

}  // namespace nvfp4::reference
