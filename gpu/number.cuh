#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

#include <nvfp4/arithmetic.hpp>
#include <nvfp4/rcp_approx.hpp>

#include "e2m1.cuh"

/// The GPU's FP32 number: the primitives of nvfp4/arithmetic.hpp, one lane. The host has them too, so that they can
/// be tested without a GPU; there is one source, and where the two differ it says so.
namespace nvfp4::gpu {

NVFP4_HOST_DEVICE inline std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }
NVFP4_HOST_DEVICE inline float float_of(std::uint32_t bits) { return std::bit_cast<float>(bits); }

struct Number {
  struct Code {
    std::uint32_t bits;
    NVFP4_HOST_DEVICE explicit constexpr Code(std::uint32_t bits) : bits(bits) {}
  };
  float value;
  NVFP4_HOST_DEVICE explicit constexpr Number(float value) : value(value) {}
  NVFP4_HOST_DEVICE static Number e2m1_value(Code code);
};
using Code = Number::Code;

struct Scale {
  Code code;
  Number value;
};

// One operation each, whatever the compiler's flags are.
#ifdef __CUDA_ARCH__
NVFP4_HOST_DEVICE inline Number operator+(Number a, Number b) { return Number(__fadd_rn(a.value, b.value)); }
NVFP4_HOST_DEVICE inline Number operator-(Number a, Number b) { return Number(__fsub_rn(a.value, b.value)); }
NVFP4_HOST_DEVICE inline Number operator*(Number a, Number b) { return Number(__fmul_rn(a.value, b.value)); }
NVFP4_HOST_DEVICE inline Number operator/(Number a, Number b) { return Number(__fdiv_rn(a.value, b.value)); }
#else
NVFP4_HOST_DEVICE inline Number operator+(Number a, Number b) { return Number(a.value + b.value); }
NVFP4_HOST_DEVICE inline Number operator-(Number a, Number b) { return Number(a.value - b.value); }
NVFP4_HOST_DEVICE inline Number operator*(Number a, Number b) { return Number(a.value * b.value); }
NVFP4_HOST_DEVICE inline Number operator/(Number a, Number b) { return Number(a.value / b.value); }
#endif
NVFP4_HOST_DEVICE inline Number multiply_add(Number a, Number b, Number c) {
  return Number(std::fma(a.value, b.value, c.value));
}

NVFP4_HOST_DEVICE inline Code operator|(Code a, Code b) { return Code(a.bits | b.bits); }
NVFP4_HOST_DEVICE inline bool operator==(Number a, Number b) { return a.value == b.value; }
NVFP4_HOST_DEVICE inline bool operator<(Number a, Number b) { return a.value < b.value; }
NVFP4_HOST_DEVICE inline bool is_nan(Number a) { return a.value != a.value; }
NVFP4_HOST_DEVICE inline bool any_nan(Number a) { return is_nan(a); }
NVFP4_HOST_DEVICE inline bool has_sign(Number a) { return bits_of(a.value) >> 31; }
NVFP4_HOST_DEVICE inline Number abs(Number a) { return Number(float_of(bits_of(a.value) & 0x7FFFFFFF)); }
NVFP4_HOST_DEVICE inline Number select(bool mask, Number x, Number y) { return mask ? x : y; }
NVFP4_HOST_DEVICE inline Code select(bool mask, Code x, Code y) { return mask ? x : y; }
NVFP4_HOST_DEVICE inline Number min_num(Number a, Number bound) { return a < bound ? a : bound; }
NVFP4_HOST_DEVICE inline Number min_nan(Number a, Number bound) { return bound < a ? bound : a; }
NVFP4_HOST_DEVICE inline Number max_nan(Number a, Number bound) { return a < bound ? bound : a; }
NVFP4_HOST_DEVICE inline Number ftz(Number a) {
  return abs(a) < Number(flt_min) ? Number(float_of(bits_of(a.value) & 0x80000000)) : a;
}

NVFP4_HOST_DEVICE inline Number default_nan() { return Number(float_of(0x7FC00000)); }

/// Half of the dropped bits' unit, less one where the kept part is even, carries into it as RNE asks.
NVFP4_HOST_DEVICE inline Number to_bf16(Number a) {
  const std::uint32_t bits = bits_of(a.value);
  return is_nan(a) ? default_nan() : Number(float_of((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000));
}

/// Below 2^-14 FP16's step is 2^-24, that of FP32 between a half and one.
NVFP4_HOST_DEVICE inline Number to_fp16(Number a) {
  const std::uint32_t sign = bits_of(a.value) & 0x80000000, magnitude = bits_of(a.value) & 0x7FFFFFFF;
  if (is_nan(a)) return default_nan();
  if (magnitude >= 0x477FF000) return Number(float_of(sign | 0x7F800000));  // from 65520 on
  if (magnitude < 0x38800000)
    return Number(
        float_of(sign | bits_of((Number(float_of(magnitude)) + Number(0.5f) - Number(0.5f)).value)));
  return Number(float_of(sign | ((magnitude + 0xFFF + (magnitude >> 13 & 1)) & 0xFFFFE000)));
}

/// Adding -0 changes nothing, and keeps ptxas from taking the reciprocal of a reciprocal for the number itself.
NVFP4_HOST_DEVICE inline Number rcp_approx_ftz(Number a) {
#ifdef __CUDA_ARCH__
  float result;
  asm("{ .reg .f32 same; add.ftz.f32 same, %1, 0f80000000; rcp.approx.ftz.f32 %0, same; }"
      : "=f"(result)
      : "f"(a.value));
  return Number(result);
#else
  return Number(nvfp4::rcp_approx_ftz(a.value));
#endif
}

/// Exponent and mantissa in FP32's places, then the bias difference of 2^112; Inf and NaN keep their mantissa.
NVFP4_HOST_DEVICE inline Number fp16_value(std::uint32_t code) {
  const std::uint32_t sign = (code & 0x8000) << 16, magnitude = (code & 0x7FFF) << 13;
  if (magnitude >= 0x7C00 << 13) return Number(float_of(sign | 0x70000000 | magnitude));
  return Number(float_of(sign | bits_of((Number(float_of(magnitude)) * Number(0x1p112f)).value)));
}

/// Exponent and mantissa in FP32's places, then the bias difference of 2^120; exact, subnormals included.
NVFP4_HOST_DEVICE inline Number e4m3_value(std::uint32_t code) {
  return (code & 0x7F) == 0x7F ? default_nan() : Number(float_of((code & 0x7F) << 20)) * Number(0x1p120f);
}

NVFP4_HOST_DEVICE inline Number signed_e4m3_value(std::uint32_t code) {
  const Number magnitude = e4m3_value(code);
  return is_nan(magnitude) || !(code & 0x80) ? magnitude : Number(-magnitude.value);
}

/// t >= 0.
NVFP4_HOST_DEVICE inline Scale e4m3_satfinite(Number t) {
  const std::uint32_t code = to_e4m3(t.value);
  return {Code(code), e4m3_value(code)};
}

NVFP4_HOST_DEVICE inline Scale e4m3_up(Number t) {
  std::uint32_t code = 0x7E;
  if (is_nan(t))
    code = 0x7F;
  else if (t < Number(0x1p-6f)) {
    const float steps = t.value * 512;
    const auto whole = static_cast<std::uint32_t>(steps);
    code = whole + (static_cast<float>(whole) < steps || (steps == 0 && t.value > 0));
  } else if (t < Number(448))
    code = ((bits_of(t.value) + 0xFFFFF) >> 20) - (120 << 3);
  return {Code(code), e4m3_value(code)};
}

NVFP4_HOST_DEVICE inline Scale e4m3_ggml(Number t) {
  std::uint32_t code = 0x7E;
  if (t < Number(0x1p-6f)) {
    const auto cut = static_cast<std::uint32_t>((t * Number(512) + Number(0.5f)).value);
    code = cut < 7 ? cut : 7;
  } else if (t < Number(248))
    code = ((bits_of(t.value) + 0x80000) >> 20) - (120 << 3);
  return {Code(code), e4m3_value(code)};
}

NVFP4_HOST_DEVICE inline Number e8m0_value(std::uint32_t code) {
  return code == 0xFF ? default_nan() : Number(code == 0 ? 0x1p-127f : float_of(code << 23));
}

NVFP4_HOST_DEVICE inline Scale e8m0(Number a, int shift, Rounding rounding) {
  const std::uint32_t magnitude = bits_of(a.value) & 0x7FFFFFFF;
  const bool subnormal = magnitude < 0x800000;  // multiplied, exactly, into the binades that FP32 has
  const std::uint32_t pattern =
      subnormal ? bits_of((Number(float_of(magnitude)) * Number(0x1p64f)).value) : magnitude;
  const std::uint32_t goes_up_from = rounding == Rounding::up          ? 1
                                     : rounding == Rounding::ties_away ? 0x600000
                                                                       : 0x800000;
  const bool up = (pattern & 0x7FFFFF) >= goes_up_from;
  const int exponent = static_cast<int>(pattern >> 23) - (subnormal ? 64 : 0) + shift + up;
  std::uint32_t code = static_cast<std::uint32_t>(exponent < 0 ? 0 : exponent > 254 ? 254 : exponent);
  if (magnitude >= 0x7F800000) code = magnitude > 0x7F800000 ? 0xFF : 254;
  return {Code(code), e8m0_value(code)};
}

/// How many midpoints lie below |y|, those whose tie goes up included.
NVFP4_HOST_DEVICE inline Code e2m1_magnitude(Number y) {
  const float a = abs(y).value;
  return Code(!(a <= 0.25f) + !(a < 0.75f) + !(a <= 1.25f) + !(a < 1.75f) + !(a <= 2.5f) + !(a < 3.5f) +
              !(a <= 5));
}

NVFP4_HOST_DEVICE inline Code e2m1_satfinite(Number y) { return Code(to_e2m1(y.value)); }

NVFP4_HOST_DEVICE inline Code negative(Number y) { return Code(y.value < 0 ? 8 : 0); }

/// Exponent and mantissa in FP32's places, then the bias difference of 2^126.
NVFP4_HOST_DEVICE inline Number Number::e2m1_value(Code code) {
  return Number(float_of((code.bits & 8) << 28 | (code.bits & 7) << 22)) * Number(0x1p126f);
}

NVFP4_HOST_DEVICE inline Code e2m1_carry(Number y, Code random) {
  return Code(to_e2m1_carry(y.value, random.bits));
}

NVFP4_HOST_DEVICE inline Code e2m1_te_software(Number y, Code random) {
  return Code(to_e2m1_te_software(y.value, random.bits));
}

/// Literally: the first code that no later one undercuts.
NVFP4_HOST_DEVICE inline Code e2m1_nearest_first(Number x, Number d) {
  Number least(float_of(0x7F800000));
  Code first(0);
  for (std::uint32_t code = 0; code < 16; ++code) {
    const Number distance = abs(Number::e2m1_value(Code(code)) * d - x);
    if (distance < least) least = distance, first = Code(code);
  }
  return first;
}

/// From 7 on y is a multiple of 2 on that grid, and of its BF16 pattern the exponent less 126 and the top fraction bit
/// make a code, cut to a nibble.
NVFP4_HOST_DEVICE inline Code e2m1_from_bf16(Number y) {
  const float a = abs(y).value;
  if (!(a < float_of(0x7F800000))) return Code(11);
  if (a < 7) return e2m1_magnitude(y) | negative(y);
  const Number magic(0x1.8p23f), halves = Number(a * 0.5f);
  const std::uint32_t q = bits_of(a < 0x1p23f ? ((halves + magic) - magic).value * 2 : a);
  return Code((((q >> 23) - 126) * 2 + (q >> 22 & 1)) & 15) | negative(y);
}

}  // namespace nvfp4::gpu
