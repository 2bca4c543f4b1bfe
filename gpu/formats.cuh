#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

#include <nvfp4/dialect.hpp>
#include <nvfp4/formats.hpp>
#include <nvfp4/stochastic.hpp>

#include "host_device.hpp"

/// Conversions of one value to and from any format, in integers on FP32 patterns. What a format or an encoding is made
/// of is worked out on the host, since device code reads no table. The index of a magnitude is its code without the sign
/// and without the bits that TF32 drops: indices ascend with magnitudes.
namespace nvfp4::gpu {

inline constexpr std::uint32_t infinity_pattern = 0x7F800000;

/// How a code's bits are laid out.
struct CodeFields {
  int bits, exponent_bits, mantissa_bits, bias, dropped_bits;
  bool has_sign, has_infinity, has_nan;
  bool is_power;  ///< E8M0: no zero, no subnormals

  NVFP4_HOST_DEVICE constexpr int value_bits() const { return exponent_bits + mantissa_bits; }
  NVFP4_HOST_DEVICE constexpr std::uint32_t last_finite() const {
    const std::uint32_t numbers = 1u << value_bits();
    return has_infinity ? numbers - (1u << mantissa_bits) - 1 : numbers - (has_nan ? 2 : 1);
  }
  NVFP4_HOST_DEVICE constexpr std::uint32_t sign() const { return has_sign ? 1u << (bits - 1) : 0; }
};

constexpr CodeFields code_fields(Format format) {
  const FormatInfo& f = info(format);
  return {f.bits,
          f.exponent_bits,
          f.mantissa_bits,
          f.bias,
          format == Format::tf32 ? 13 : 0,
          f.has_sign,
          f.has_infinity,
          f.has_nan,
          format == Format::e8m0};
}
inline constexpr CodeFields fp32_fields{32, 8, 23, 127, 0, true, true, true, false},
    fp64_fields{64, 11, 52, 1023, 0, true, true, true, false};

/// A magnitude in a format without end: its index is (significand >> cut) + first, before anything is rounded.
struct Placed {
  std::uint32_t significand;
  int cut;
  std::uint32_t first;
};

NVFP4_HOST_DEVICE inline Placed placed(std::uint32_t magnitude, const CodeFields& f) {
  const int field = std::max(static_cast<int>(magnitude >> 23), 1);
  const int smallest_normal = 128 - f.bias, binade = std::max(field, smallest_normal);
  // The hidden bit adds one to the exponent field, and so does a carry out of the mantissa.
  return {(magnitude & 0x7FFFFF) | (magnitude >= 0x800000 ? 0x800000 : 0),
          23 - f.mantissa_bits + binade - field,
          static_cast<std::uint32_t>(binade - smallest_normal) << f.mantissa_bits};
}

/// What is added to a significand so that cutting `cut` bits off rounds it.
NVFP4_HOST_DEVICE inline std::uint32_t increment(std::uint32_t significand, int cut, bool negative,
                                                 Rounding rounding) {
  const std::uint32_t half = (1u << cut) >> 1, below_one = (1u << cut) - 1;
  switch (rounding) {
    case Rounding::toward_zero: return 0;
    case Rounding::up: return negative ? 0 : below_one;
    case Rounding::down: return negative ? below_one : 0;
    case Rounding::ties_away: return half;
    case Rounding::ties_to_zero: return half - 1;
    case Rounding::nearest_even: break;
  }
  return half - 1 + (significand >> cut & 1);
}

/// It passes last_finite() where |x| overflows.
NVFP4_HOST_DEVICE inline std::uint32_t rounded_index(std::uint32_t magnitude, bool negative,
                                                     Rounding rounding, const CodeFields& f) {
  const Placed p = placed(magnitude, f);
  const int cut = std::min(p.cut, 25);  // from there on all 24 bits lie below half
  return ((p.significand + increment(p.significand, cut, negative, rounding)) >> cut) + p.first;
}

/// E8M0: the exponent field is the code. Subnormals from 2^-127 on are stretched to the binade that they would fill;
/// those below become its start. To nearest even there is none of this: reference/formats.cpp says why.
NVFP4_HOST_DEVICE inline std::uint32_t rounded_power(std::uint32_t magnitude, Rounding rounding) {
  const bool normal = magnitude >= 0x800000;
  if (rounding == Rounding::nearest_even) return (magnitude + 0x3FFFFF + normal) >> 23;
  const std::uint32_t stretched = 2 * std::max(magnitude, 0x400000u) - 0x800000;
  const std::uint32_t pattern = normal ? magnitude : stretched;
  return (pattern + increment(pattern, 23, false, rounding)) >> 23;
}

/// An Encoding, worked out.
struct Encoder {
  CodeFields f;
  Rounding rounding;
  std::uint32_t overflow;         ///< index of what rounds past the largest finite value, and of Inf
  std::uint32_t nan, minus_nan;   ///< codes
  std::uint32_t nan_index_mask;   ///< the bits of a NaN's index, rounded as a number's, that its code has too
  bool power_has_nan_for_others;  ///< E8M0: zero and negatives are NaN
};

/// [format][target][sign]: the table of reference/README.md.
inline constexpr std::uint32_t nan_codes[][4][2] = {
    /* e2m1  */ {{7, 7}, {8, 0}, {8, 8}, {0, 8}},
    /* e2m3  */ {{0x1F, 0x1F}, {0x20, 0}, {0x20, 0}, {0, 0x20}},
    /* e3m2  */ {{0x1F, 0x1F}, {0x20, 0}, {0x20, 0}, {0, 0x20}},
    /* e4m3  */ {{0x7F, 0x7F}, {0x7F, 0xFF}, {0x7F, 0xFF}, {0x7F, 0xFF}},
    /* ue4m3 */ {{0x7F, 0x7F}, {0x7F, 0x7F}, {0x7F, 0x7F}, {0x7F, 0x7F}},
    /* e5m2  */ {{0x7F, 0x7F}, {0x7E, 0xFE}, {0x7E, 0xFE}, {0x7F, 0xFF}},
    /* e8m0  */ {{0xFF, 0xFF}, {0xFF, 0xFF}, {0xFF, 0xFF}, {0xFF, 0xFF}},
    /* bf16  */ {{0x7FFF, 0x7FFF}, {0x7FC0, 0xFFC0}, {0x7FC0, 0xFFC0}, {0x7FC0, 0x7FC0}},
    /* fp16  */ {{0x7FFF, 0x7FFF}, {0x7E00, 0xFE00}, {0x7E00, 0xFE00}, {0x7E00, 0xFE00}},
    /* tf32  */
    {{0x7FFFE000, 0x7FFFE000}, {0x7FC00000, 0xFFC00000}, {0x7FC00000, 0xFFC00000}, {0x7FC00000, 0xFFC00000}},
};

/// torchao rounds a NaN to a format below 8 bits as if it were a number.
inline Encoder encoder(const Encoding& e) {
  const CodeFields f = code_fields(e.format);
  const auto& nan = nan_codes[static_cast<int>(e.format)][static_cast<int>(e.target)];
  const bool special = e.overflow == Overflow::special && (f.has_infinity || f.has_nan);
  return {.f = f,
          .rounding = e.rounding,
          .overflow = f.last_finite() + (special ? 1 : 0),
          .nan = nan[0],
          .minus_nan = nan[1],
          .nan_index_mask = e.target == Target::torch && f.bits < 8 ? f.last_finite() : 0,
          .power_has_nan_for_others = e.target == Target::ml_dtypes || e.target == Target::xla};
}

/// The index of |x|, which is no NaN.
NVFP4_HOST_DEVICE inline std::uint32_t number_index(std::uint32_t magnitude, bool negative,
                                                    const Encoder& e) {
  const bool acts_negative = negative && !e.f.is_power;
  const std::uint32_t last = e.f.last_finite(),
                      index = e.f.is_power ? rounded_power(magnitude, e.rounding)
                                           : rounded_index(magnitude, negative, e.rounding, e.f);
  if (index <= last) return index;
  const Rounding towards_zero = acts_negative ? Rounding::up : Rounding::down;
  const bool stops = e.rounding == Rounding::toward_zero || e.rounding == towards_zero;
  return stops && magnitude != infinity_pattern ? last : e.overflow;
}

NVFP4_HOST_DEVICE inline std::uint32_t encoded(float x, const Encoder& e) {
  const auto pattern = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t magnitude = pattern & 0x7FFFFFFF;
  const bool negative = pattern >> 31;
  if (magnitude > infinity_pattern)
    return (negative ? e.minus_nan : e.nan) |
           (e.nan_index_mask ? rounded_index(magnitude, false, Rounding::nearest_even, e.f) & e.nan_index_mask
                             : 0);
  if (e.f.is_power && e.power_has_nan_for_others && (negative || magnitude == 0)) return 0xFF;
  const bool unsigned_negative = negative && !e.f.has_sign && !e.f.is_power;
  if (unsigned_negative) return 0;
  return number_index(magnitude, negative, e) << e.f.dropped_bits | (negative ? e.f.sign() : 0);
}

/// Bits above the format's width are ignored. Every product is exact.
NVFP4_HOST_DEVICE inline float decoded(std::uint32_t code, const CodeFields& f) {
  const std::uint32_t index = code >> f.dropped_bits & ((1u << f.value_bits()) - 1);
  const std::uint32_t sign = code & f.sign() ? 0x80000000 : 0, last = f.last_finite();
  std::uint32_t pattern =
      (index << (23 - f.mantissa_bits)) + (static_cast<std::uint32_t>(127 - f.bias) << 23);
  if (f.is_power && index == 0) pattern = 0x400000;
  if (f.bias != 127 && index >> f.mantissa_bits == 0) {
    const auto unit = static_cast<std::uint32_t>(128 - f.bias - f.mantissa_bits) << 23;
    pattern = std::bit_cast<std::uint32_t>(static_cast<float>(index) * std::bit_cast<float>(unit));
  }
  if (index > last) pattern = f.has_infinity && index == last + 1 ? infinity_pattern : 0x7FC00000;
  return std::bit_cast<float>(pattern | sign);
}

/// SrRule::carry: the index of |x| with r added to the uppermost discarded bits.
NVFP4_HOST_DEVICE inline std::uint32_t carried_index(std::uint32_t magnitude, std::uint32_t r,
                                                     const CodeFields& f, int bits) {
  const Placed p = placed(magnitude, f);
  const int cut = std::min(p.cut, 63);  // all that is cut lies below every r
  const std::uint64_t significand = p.significand,
                      steps = cut < bits ? significand << (bits - cut) : significand >> (cut - bits);
  return static_cast<std::uint32_t>((steps + r) >> bits) + p.first;
}

/// SrRule::te_software: the product is exact.
NVFP4_HOST_DEVICE inline std::uint32_t te_software_index(float a, std::uint32_t r, const CodeFields& f) {
  const float step = a >= 4 ? 2.f : a >= 2 ? 1.f : 0.5f, moved = static_cast<float>(r) * (step / 256);
  return rounded_index(std::bit_cast<std::uint32_t>(a + moved), false, Rounding::toward_zero, f);
}

/// SrRule::tetrajet. NaN lies in no grid but the last, and is held at its start.
NVFP4_HOST_DEVICE inline std::uint32_t tetrajet_index(float a, std::uint32_t r, const CodeFields& f) {
  const float low = a <= 2 ? 0.f : a <= 4 ? 2.f : 4.f, step = a <= 2 ? 0.5f : a <= 4 ? 1.f : 2.f;
  const float noise = (static_cast<float>(r) * 0x1p-23f - 0.5f) * step;
  const float held = fminf(fmaxf(a + noise, low), low + 2);
  return rounded_index(std::bit_cast<std::uint32_t>(held), false, Rounding::nearest_even, f);
}

/// A StochasticEncoding, worked out.
struct StochasticEncoder {
  CodeFields f;
  SrRule rule;
  int bits;
  std::uint32_t largest, nan;
};

inline StochasticEncoder encoder(const StochasticEncoding& e) {
  const CodeFields f = code_fields(e.format);
  const std::uint32_t all_ones = (1u << (f.bits - 1)) - 1;
  return {.f = f,
          .rule = e.rule,
          .bits = e.bits,
          .largest = f.has_nan ? all_ones - 1 : all_ones,
          .nan = all_ones};
}

NVFP4_HOST_DEVICE inline std::uint32_t encoded(float x, std::uint32_t random, const StochasticEncoder& e) {
  const auto pattern = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t magnitude = pattern & 0x7FFFFFFF, sign = pattern >> 31 ? e.f.sign() : 0;
  const auto a = std::bit_cast<float>(magnitude);
  if (e.rule == SrRule::tetrajet) return tetrajet_index(a, random, e.f) | sign;
  if (magnitude > infinity_pattern) return e.nan;
  const std::uint32_t index = e.rule == SrRule::carry ? carried_index(magnitude, random, e.f, e.bits)
                                                      : te_software_index(a, random, e.f);
  return std::min(index, e.largest) | sign;
}

/// Rounded to nearest even, overflow to infinity. Every NaN comes out as torch's default one, or as CUDA's, all ones.
NVFP4_HOST_DEVICE inline void store(void* data, Dtype dtype, std::int64_t i, float x, Target nan) {
  constexpr CodeFields bf16 = code_fields(Format::bf16), fp16 = code_fields(Format::fp16);
  const std::uint32_t pattern = std::bit_cast<std::uint32_t>(x), magnitude = pattern & 0x7FFFFFFF;
  const bool is_nan = magnitude > infinity_pattern;
  if (dtype == Dtype::fp32) {
    const std::uint32_t quiet = nan == Target::cuda ? 0x7FFFFFFF : 0x7FC00000;
    static_cast<std::uint32_t*>(data)[i] = is_nan ? quiet : pattern;
    return;
  }
  const CodeFields f = dtype == Dtype::bf16 ? bf16 : fp16;
  const std::uint32_t infinity = f.last_finite() + 1,
                      quiet = nan == Target::cuda ? 0x7FFF : infinity + (1u << (f.mantissa_bits - 1)),
                      index = rounded_index(magnitude, false, Rounding::nearest_even, f),
                      code = std::min(index, infinity) | (pattern >> 31 ? f.sign() : 0);
  static_cast<std::uint16_t*>(data)[i] = static_cast<std::uint16_t>(is_nan ? quiet : code);
}

/// One element of each launch.
struct Encode {
  const float* values;
  Encoder e;
  std::uint32_t* codes;
  NVFP4_HOST_DEVICE void operator()(std::int64_t i) const { codes[i] = encoded(values[i], e); }
};
struct EncodeStochastic {
  const float* values;
  const std::uint32_t* random;
  StochasticEncoder e;
  std::uint32_t* codes;
  NVFP4_HOST_DEVICE void operator()(std::int64_t i) const { codes[i] = encoded(values[i], random[i], e); }
};
struct Decode {
  const std::uint32_t* codes;
  CodeFields f;
  float* values;
  NVFP4_HOST_DEVICE void operator()(std::int64_t i) const { values[i] = decoded(codes[i], f); }
};
struct Draw {
  RandomBits bits;
  std::int64_t row, first_block;
  std::uint32_t* words;
  NVFP4_HOST_DEVICE void operator()(std::int64_t b) const {
    const std::array<std::uint32_t, 4> drawn = draw(bits, row, first_block + b);
    for (int w = 0; w < 4; ++w) words[4 * b + w] = drawn[static_cast<std::size_t>(w)];
  }
};

}  // namespace nvfp4::gpu
