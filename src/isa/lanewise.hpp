#pragma once
#include <nvfp4/arithmetic.hpp>
#include <nvfp4/rcp_approx.hpp>

#include "isa.hpp"

/// Primitives that no dialect needs in every element, or that few dialects need: one lane at a time. Compiled
/// once an instruction set, so it stands in each file's own namespace, where F's primitives are looked up.
namespace nvfp4::isa {
namespace {

template <class F, class Scalar>
F lanewise(F a, Scalar scalar) {
  float lane[F::lanes];
  a.store(lane);
  for (float& x : lane) x = scalar(x);
  return F::load(lane);
}

template <class F, class Scalar>
typename F::Code codes_of(F a, Scalar scalar) {
  float lane[F::lanes];
  std::uint32_t code[F::lanes];
  a.store(lane);
  for (int i = 0; i < F::lanes; ++i) code[i] = scalar(lane[i]);
  return F::Code::load(code);
}

/// `scalar` gives codes, `value` their values.
template <class F, class Scalar, class Value>
auto scales_of(F a, Scalar scalar, Value value) {
  struct Scales {
    typename F::Code code;
    F value;
  };
  return Scales{codes_of(a, scalar),
                lanewise(
                    a, [&](float x) __attribute__((always_inline)) { return value(scalar(x)); })};
}

template <class F>
struct Lane {
  static std::uint32_t bits(float x) { return __builtin_bit_cast(std::uint32_t, x); }
  static float number(std::uint32_t pattern) { return __builtin_bit_cast(float, pattern); }

  /// Without sign. Exponent and mantissa in FP32's places, then the bias difference of 2^120; exact, subnormals
  /// included.
  static float e4m3_value(std::uint32_t code) {
    return (code & 0x7F) == 0x7F ? __builtin_nanf("") : number(code << 20) * 0x1p120f;
  }

  /// Upwards: what is beyond 448, and Inf, saturate.
  static std::uint32_t e4m3_up(float t) {
    if (t != t) return 0x7F;
    if (!(t < 448)) return 0x7E;
    if (t < 0x1p-6f) {  // subnormal steps of 2^-9; the division by one is exact
      const float steps = t * 512;
      const auto whole = static_cast<std::uint32_t>(steps);
      return whole + (static_cast<float>(whole) < steps || (steps == 0 && t > 0));
    }
    return ((bits(t) + 0xFFFFF) >> 20) - (120 << 3);
  }

  static std::uint32_t e4m3_ggml(float t) {
    if (!(t < 248)) return 0x7E;
    if (t < 0x1p-6f) {
      const auto cut = static_cast<std::uint32_t>(t * 512 + 0.5f);
      return cut < 7 ? cut : 7;
    }
    return ((bits(t) + 0x80000) >> 20) - (120 << 3);
  }

  static std::uint32_t e8m0(float a, int shift, Rounding rounding) {
    const std::uint32_t magnitude = bits(a) & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return 0xFF;
    if (magnitude == 0x7F800000) return 254;
    const bool subnormal = magnitude < 0x800000;  // multiplied, exactly, into the binades that FP32 has
    const std::uint32_t pattern = subnormal ? bits(number(magnitude) * 0x1p64f) : magnitude;
    const std::uint32_t goes_up_from = rounding == Rounding::up          ? 1
                                       : rounding == Rounding::ties_away ? 0x600000
                                                                         : 0x800000;
    const bool up = (pattern & 0x7FFFFF) >= goes_up_from;
    const int code = static_cast<int>(pattern >> 23) - (subnormal ? 64 : 0) + shift + up;
    return static_cast<std::uint32_t>(code < 0 ? 0 : code > 254 ? 254 : code);
  }
  static float e8m0_value(std::uint32_t code) {
    return code == 0xFF ? __builtin_nanf("") : code == 0 ? 0x1p-127f : number(code << 23);
  }

  static float to_fp16(float x) {
    const std::uint32_t sign = bits(x) & 0x80000000, magnitude = bits(x) & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return __builtin_nanf("");
    if (magnitude >= 0x477FF000) return number(sign | 0x7F800000);  // from 65520 on
    if (magnitude < 0x38800000) {                                   // below 2^-14 the step is 2^-24
      const float rounded = number(magnitude) + 0.5f - 0.5f;
      return number(sign | bits(rounded));
    }
    return number(sign | ((magnitude + 0xFFF + (magnitude >> 13 & 1)) & 0xFFFFE000));
  }

  /// Literally, with d: no later code undercuts.
  static std::uint32_t nearest_first(float x, float d) {
    constexpr float value[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    float least = __builtin_inff();
    std::uint32_t first = 0;
    for (std::uint32_t code = 0; code < 16; ++code) {
      const float distance = __builtin_fabsf(value[code] * d - x);
      if (distance < least) least = distance, first = code;
    }
    return first;
  }

  /// See reference/number.hpp.
  static std::uint32_t from_bf16(float y) {
    const float a = __builtin_fabsf(y);
    if (!(a < __builtin_inff())) return 11;
    const std::uint32_t sign = y < 0 ? 8 : 0;
    constexpr float magic = 0x1.8p23f;
    const float q = a < 0x1p23f ? ((a * 0.5f + magic) - magic) * 2 : a;  // from 7 on, a multiple of 2
    const std::uint32_t exponent = bits(q) >> 23, fraction = bits(q) >> 22 & 1;
    return (((exponent - 126) * 2 + fraction) & 15) | sign;
  }
};

template <class F>
F rcp_approx_ftz(F a) {
  return lanewise(a, [](float x) { return nvfp4::rcp_approx_ftz(x); });
}

template <class F>
F to_fp16(F a) {
  return lanewise(a, Lane<F>::to_fp16);
}

template <class F>
auto e4m3_up(F t) {
  return scales_of(t, Lane<F>::e4m3_up, Lane<F>::e4m3_value);
}

template <class F>
auto e4m3_ggml(F t) {
  return scales_of(t, Lane<F>::e4m3_ggml, Lane<F>::e4m3_value);
}

template <class F>
auto e8m0(F a, int shift, Rounding rounding) {
  return scales_of(
      a, [=](float x) { return Lane<F>::e8m0(x, shift, rounding); }, Lane<F>::e8m0_value);
}

/// Ties of 0.75, 1.75 and 3.5 are what RNE takes up and this takes down: they are moved below the tie. The
/// sign of what rounds to zero is dropped: +0 comes first. Where distances themselves round (large x / d, or
/// no number at all), the search is made literally. x / d for x * (1 / d) is what keeps ties ties: a quotient
/// beyond a midpoint never rounds onto it, because d has four significant bits.
template <class F>
typename F::Code e2m1_nearest_first(F x, F d) {
  const F v = x / d, a = abs(v);
  if (any_nan(select(a < F(0x1p20f), F(0), F(__builtin_nanf(""))))) {
    float xs[F::lanes], ds[F::lanes];
    std::uint32_t code[F::lanes];
    x.store(xs);
    d.store(ds);
    for (int i = 0; i < F::lanes; ++i) code[i] = Lane<F>::nearest_first(xs[i], ds[i]);
    return F::Code::load(code);
  }
  const auto tie = (a == F(0.75f)) | (a == F(1.75f)) | (a == F(3.5f));
  return e2m1_magnitude(select(tie, a * F(0.875f), a)) | negative(select(a < F(0x1.000002p-2f), F(0), v));
}

/// Below 7 it is RNE with the sign of y < 0.
template <class F>
typename F::Code e2m1_from_bf16(F y) {
  if (any_nan(select(abs(y) < F(7), F(0), F(__builtin_nanf(""))))) {
    const auto rest = codes_of(y, Lane<F>::from_bf16);
    return select(abs(y) < F(7), e2m1_magnitude(y) | negative(y), rest);
  }
  return e2m1_magnitude(y) | negative(y);
}

/// Sixteen apart: the same column of `lanes` blocks side by side.
template <class F, class T>
F gather(const T* x) {
  float lane[F::lanes];
  for (int i = 0; i < F::lanes; ++i) lane[i] = F::widen(x[16 * i]);
  return F::load(lane);
}

}  // namespace
}  // namespace nvfp4::isa
