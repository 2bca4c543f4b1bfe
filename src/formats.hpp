#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

#include <nvfp4/formats.hpp>

/// Conversions of one value by integer arithmetic on FP32 patterns, without branches, so that loops over
/// them vectorise. Equal to the reference for all 2^32 patterns (tests/exhaustive_test.cpp).
namespace nvfp4::cpu {

/// As in Kernels.
void encode(std::span<const float> values, const Encoding&, std::span<std::uint32_t> codes);
void decode(std::span<const std::uint32_t> codes, Format, std::span<float> values);

inline constexpr std::uint32_t infinity_pattern = 0x7F800000;

/// Bit layout of a format. A magnitude's index is its code without sign, shifted down by `dropped` bits.
template <Format F>
struct Layout {
  static constexpr const FormatInfo& f = info(F);
  static constexpr int cut = 23 - f.mantissa_bits;  ///< FP32 mantissa bits that the format lacks
  static constexpr int dropped = F == Format::tf32 ? 13 : 0;
  static constexpr std::uint32_t indices = 1u << (f.exponent_bits + f.mantissa_bits);
  static constexpr std::uint32_t last =
      f.has_infinity ? indices - (1u << f.mantissa_bits) - 1 : indices - (f.has_nan ? 2 : 1);
  static constexpr std::uint32_t sign = f.has_sign ? 1u << (f.bits - 1) : 0;
};

/// What is added below the kept bits so that cutting `cut` bits off rounds by R. `negative` is 0 or 1.
template <Rounding R>
constexpr std::uint32_t increment(std::uint32_t significand, std::uint32_t cut, std::uint32_t negative) {
  const std::uint32_t half = (1u << cut) >> 1;
  const std::uint32_t below_one = (1u << cut) - 1;
  switch (R) {
    case Rounding::toward_zero: return 0;
    case Rounding::up: return below_one & (negative - 1);
    case Rounding::down: return below_one & (0 - negative);
    case Rounding::ties_away: return half;
    case Rounding::ties_to_zero: return half - 1;
    case Rounding::nearest_even: return half - 1 + (significand >> cut & 1);
  }
}

/// The index of |x| rounded, in a format without end: it passes `last` where |x| overflows.
/// The exponent field and the kept bits are added, so a carry out of the bits moves up a binade.
template <Format F, Rounding R>
constexpr std::uint32_t rounded_index(std::uint32_t magnitude, std::uint32_t negative) {
  using L = Layout<F>;
  constexpr std::uint32_t smallest_normal = 128 - L::f.bias;  // as an FP32 exponent field
  const std::uint32_t field = std::max(magnitude >> 23, 1u);
  const std::uint32_t hidden = magnitude >= 0x800000 ? 0x800000 : 0;
  const std::uint32_t significand = (magnitude & 0x7FFFFF) | hidden;
  // From 25 on, all 24 bits lie below half: the result is the same for every larger cut.
  const std::uint32_t below = std::max(field, smallest_normal) - field;
  const std::uint32_t cut = std::min(L::cut + below, 25u);
  const std::uint32_t kept = (significand + increment<R>(significand, cut, negative)) >> cut;
  return kept + ((std::max(field, smallest_normal) - smallest_normal) << L::f.mantissa_bits);
}

/// E8M0: a binade has one value, so the exponent field is the code. FP32's subnormals in [2^-127, 2^-126) are
/// stretched to the binade they would fill if FP32 went on; those below become its start.
template <Rounding R>
constexpr std::uint32_t rounded_exponent(std::uint32_t magnitude) {
  // reference/formats.cpp says why subnormals are not stretched here, and why this is no ordinary tie rule.
  if (R == Rounding::nearest_even) return (magnitude + 0x3FFFFF + (magnitude >= 0x800000)) >> 23;
  const std::uint32_t stretched = std::max(2 * std::min(magnitude, 0x800000u), 0x800000u) - 0x800000;
  const std::uint32_t pattern = magnitude < 0x800000 ? stretched : magnitude;
  return (pattern + increment<R>(pattern, 23, 0)) >> 23;
}

/// What targets and overflow policies decide.
struct Edges {
  std::uint32_t overflow;        ///< index of what rounds past the largest finite value, and of Inf
  std::uint32_t nan[2];          ///< codes by sign
  std::uint32_t nan_index_mask;  ///< of the bits of a NaN's rounded index that are added to its code
  std::uint32_t zero;            ///< E8M0's code of 0
  std::uint32_t negative_mask;   ///< E8M0: the bits that negatives have set
};

template <Rounding R>
constexpr bool stops_at_max(std::uint32_t negative) {
  return R == Rounding::toward_zero || (R == Rounding::up && negative) || (R == Rounding::down && !negative);
}

template <Format F, Rounding R>
constexpr std::uint32_t encode(std::uint32_t pattern, const Edges& edges) {
  using L = Layout<F>;
  const std::uint32_t magnitude = pattern & 0x7FFFFFFF, negative = pattern >> 31;
  std::uint32_t index;
  if constexpr (F == Format::e8m0)
    index = rounded_exponent<R>(magnitude);
  else
    index = rounded_index<F, R>(magnitude, negative);
  const bool stops = stops_at_max<R>(F == Format::e8m0 ? 0 : negative) && magnitude != infinity_pattern;
  const std::uint32_t beyond = stops ? L::last : edges.overflow;
  std::uint32_t code = (index > L::last ? beyond : index) << L::dropped;
  if constexpr (F == Format::e8m0) code = magnitude == 0 ? edges.zero : code;
  if constexpr (F == Format::e8m0) code |= edges.negative_mask & (0 - negative);
  if constexpr (F == Format::ue4m3) code &= negative - 1;
  code |= L::sign & (0 - negative);
  std::uint32_t nan = negative ? edges.nan[1] : edges.nan[0];
  if constexpr (L::f.bits < 8)
    nan |= rounded_index<F, Rounding::nearest_even>(magnitude, 0) & edges.nan_index_mask;
  return magnitude > infinity_pattern ? nan : code;
}

/// Bits of `code` above the format's width are ignored.
template <Format F>
constexpr float decode(std::uint32_t code) {
  using L = Layout<F>;
  const std::uint32_t index = code >> L::dropped & (L::indices - 1);
  const std::uint32_t sign = code & L::sign ? 0x80000000 : 0;
  constexpr std::uint32_t rebias = (127 - L::f.bias) << 23;
  std::uint32_t pattern = (index << L::cut) + rebias;
  if constexpr (F == Format::e8m0) {
    pattern = index == 0 ? 0x400000 : pattern;
  } else if constexpr (rebias != 0) {
    // An exact product: a few bits times a power of two well inside FP32's normal range.
    const float subnormal = static_cast<float>(static_cast<int>(index)) *
                            std::bit_cast<float>((128u - L::f.bias - L::f.mantissa_bits) << 23);
    pattern = index < (1u << L::f.mantissa_bits) ? std::bit_cast<std::uint32_t>(subnormal) : pattern;
  }
  const bool infinite = L::f.has_infinity && index == L::last + 1;
  pattern = index <= L::last ? pattern : infinite ? infinity_pattern : 0x7FC00000;
  return std::bit_cast<float>(pattern | sign);
}

}  // namespace nvfp4::cpu
