#include "formats.hpp"

#include <algorithm>
#include <array>
#include <mutex>

#include "exact.hpp"

namespace nvfp4::reference {
namespace {

constexpr std::uint32_t sign_of_pattern = 0x80000000;
constexpr std::uint32_t infinity_pattern = 0x7F800000;

constexpr int tf32_dropped_bits = 13;

/// Magnitudes are numbered upwards from the format's smallest. In every format the number is the code
/// without its sign, but for TF32, whose codes lie in the high bits.
std::uint32_t code_of(const FormatInfo& f, std::uint32_t index) {
  return f.format == Format::tf32 ? index << tf32_dropped_bits : index;
}

std::uint32_t sign_bit(const FormatInfo& f) { return f.has_sign ? 1u << (f.bits - 1) : 0; }

/// The number of the largest finite magnitude. The next number is Inf's where there is one, else NaN's.
std::uint32_t last_finite(const FormatInfo& f) {
  const std::uint32_t numbers = 1u << (f.exponent_bits + f.mantissa_bits);
  if (f.has_infinity) return numbers - (1u << f.mantissa_bits) - 1;
  return numbers - (f.has_nan ? 2 : 1);
}

/// Equation (2). For last_finite() + 1 it gives the value that code would have if it were finite, which
/// is where rounding to nearest looks for the largest value's upper neighbour.
Dyadic magnitude(const FormatInfo& f, std::uint32_t index) {
  if (f.format == Format::e8m0) return {1, static_cast<int>(index) - 127};
  const std::uint32_t hidden = 1u << f.mantissa_bits;
  const int field = static_cast<int>(index >> f.mantissa_bits);
  const std::uint32_t fraction = index & (hidden - 1);
  return {field ? hidden + fraction : fraction, std::max(field, 1) - f.bias - f.mantissa_bits};
}

/// Values and midpoints of all formats are FP32 numbers (at most 12 significant bits, none below 2^-137),
/// so this loses nothing; only 2^128 becomes Inf, which is the next pattern. Patterns of non-negative
/// FP32 numbers are ordered as their values are.
std::uint32_t pattern(const Dyadic& x) { return std::bit_cast<std::uint32_t>(round_to_fp32(x)); }

/// E8M0's nearest_even, from what ml_dtypes, XLA and torch all do: the last bit of the significand decides
/// ties, and that is 1 but in FP32's subnormals, which round between 0 and 2^-126. So between 2^-127 and
/// 2^-126 the nearest is not found.
std::uint32_t first_above_e8m0_nearest_even(const FormatInfo& f, std::uint32_t index) {
  if (index == 0) return pattern(half(magnitude(f, 1))) + 1;
  return pattern(half(magnitude(f, index) + magnitude(f, index + 1)));
}

/// Equation (3): the smallest non-negative FP32 that rounds to magnitude index + 1 and not to `index`.
std::uint32_t first_above(const FormatInfo& f, std::uint32_t index, Rounding rounding) {
  if (f.format == Format::e8m0 && rounding == Rounding::nearest_even)
    return first_above_e8m0_nearest_even(f, index);
  const Dyadic low = magnitude(f, index);
  const Dyadic high = magnitude(f, index + 1);
  const std::uint32_t middle = pattern(half(low + high));
  switch (rounding) {
    case Rounding::toward_zero:
    case Rounding::down: return pattern(high);
    case Rounding::up: return pattern(low) + 1;
    case Rounding::ties_away: return middle;
    case Rounding::ties_to_zero: return middle + 1;
    case Rounding::nearest_even: break;
  }
  const bool low_is_even = index % 2 == 0;
  return low_is_even ? middle + 1 : middle;
}

/// The rounding of |x| that rounds -|x| by `rounding`.
Rounding mirrored(Rounding rounding) {
  if (rounding == Rounding::up) return Rounding::down;
  if (rounding == Rounding::down) return Rounding::up;
  return rounding;
}

/// The steps of +0 to +Inf, without the sign of the code.
std::vector<Step> magnitude_steps(const FormatInfo& f, Rounding rounding, Overflow overflow) {
  const std::uint32_t last = last_finite(f);
  std::vector<Step> steps{{0, code_of(f, 0)}};
  for (std::uint32_t i = 0; i < last; ++i) steps.push_back({first_above(f, i, rounding), code_of(f, i + 1)});
  const bool has_special = f.has_infinity || f.has_nan;
  if (overflow == Overflow::saturate || !has_special) return steps;
  const bool stops_at_max = rounding == Rounding::toward_zero || rounding == Rounding::down;
  const std::uint32_t overflows = stops_at_max ? infinity_pattern : first_above(f, last, rounding);
  steps.push_back({overflows, code_of(f, last + 1)});
  return steps;
}

/// Policy table of reference/README.md: the codes of NaN, by sign.
struct NanCodes {
  std::uint32_t positive, negative;
};

NanCodes nan_codes(Format format, Target target) {
  const bool cuda = target == Target::cuda, torch = target == Target::torch;
  switch (format) {
    case Format::e2m1: return cuda ? NanCodes{7, 7} : target == Target::xla ? NanCodes{8, 8} : NanCodes{8, 0};
    case Format::e2m3:
    case Format::e3m2: return cuda ? NanCodes{0x1F, 0x1F} : NanCodes{0x20, 0};
    case Format::e4m3: return cuda ? NanCodes{0x7F, 0x7F} : NanCodes{0x7F, 0xFF};
    case Format::ue4m3: return {0x7F, 0x7F};
    case Format::e5m2:
      return cuda ? NanCodes{0x7F, 0x7F} : torch ? NanCodes{0x7F, 0xFF} : NanCodes{0x7E, 0xFE};
    case Format::e8m0: return {0xFF, 0xFF};
    case Format::bf16:
      return cuda ? NanCodes{0x7FFF, 0x7FFF} : torch ? NanCodes{0x7FC0, 0x7FC0} : NanCodes{0x7FC0, 0xFFC0};
    case Format::fp16: return cuda ? NanCodes{0x7FFF, 0x7FFF} : NanCodes{0x7E00, 0xFE00};
    case Format::tf32: break;
  }
  return cuda ? NanCodes{0x7FFFE000, 0x7FFFE000} : NanCodes{0x7FC00000, 0xFFC00000};
}

/// Equation (4): torchao rounds a NaN as if its exponent field were an ordinary one, and keeps that field's low bits.
std::vector<Step> torchao_nan_steps(const FormatInfo& f, std::uint32_t sign) {
  const std::uint32_t field = static_cast<std::uint32_t>(0xFF - 127 + f.bias) % (1u << f.exponent_bits);
  const std::uint32_t lowest = field << f.mantissa_bits;
  std::vector<Step> steps{{infinity_pattern + 1, lowest | sign}};
  for (std::uint32_t i = 1; i <= 1u << f.mantissa_bits; ++i) {
    const std::uint32_t middle = (2 * i - 1) << (22 - f.mantissa_bits);
    steps.push_back({infinity_pattern + middle + i % 2, (lowest + i) | sign});
  }
  return steps;
}

/// The steps of the NaN patterns of one sign.
std::vector<Step> nan_steps(const Encoding& e, bool negative) {
  const std::uint32_t first = infinity_pattern + 1;
  const FormatInfo& f = info(e.format);
  if (f.bits < 8 && e.target == Target::torch) return torchao_nan_steps(f, negative ? sign_bit(f) : 0);
  const NanCodes codes = nan_codes(e.format, e.target);
  return {{first, negative ? codes.negative : codes.positive}};
}

/// Of E8M0, which has neither: PTX and torch take |x| and the smallest code, ml_dtypes and XLA give NaN.
bool ignores_sign_and_zero(Target target) { return target == Target::cuda || target == Target::torch; }

std::vector<Step> positive_steps(const Encoding& e) {
  std::vector<Step> steps = magnitude_steps(info(e.format), e.rounding, e.overflow);
  if (e.format == Format::e8m0 && !ignores_sign_and_zero(e.target)) {
    steps[0].first = 1;
    steps.insert(steps.begin(), {0, 0xFF});
  }
  return steps;
}

/// By |x|: the caller adds the sign to `first`.
std::vector<Step> negative_steps(const Encoding& e) {
  const FormatInfo& f = info(e.format);
  if (e.format == Format::ue4m3) return {{0, 0}};
  if (e.format == Format::e8m0)
    return ignores_sign_and_zero(e.target) ? positive_steps(e) : std::vector<Step>{{0, 0xFF}};
  std::vector<Step> steps = magnitude_steps(f, mirrored(e.rounding), e.overflow);
  for (Step& s : steps) s.code |= sign_bit(f);
  return steps;
}

/// Built once an encoding: the first use of a TF32 one makes half a million steps.
const std::vector<Step>& cached_staircase(const Encoding& e) {
  constexpr std::size_t roundings = 6, overflows = 2, targets = 4, formats = std::size(format_table);
  static std::array<std::vector<Step>, formats * roundings * overflows * targets> staircases;
  static std::array<std::once_flag, staircases.size()> built;
  std::size_t i = static_cast<std::size_t>(e.format);
  i = i * roundings + static_cast<std::size_t>(e.rounding);
  i = i * overflows + static_cast<std::size_t>(e.overflow);
  i = i * targets + static_cast<std::size_t>(e.target);
  std::call_once(built[i], [&] { staircases[i] = staircase(e); });
  return staircases[i];
}

std::uint32_t encode(float value, const std::vector<Step>& steps) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto above = std::upper_bound(steps.begin(), steps.end(), bits,
                                      [](std::uint32_t b, const Step& s) { return b < s.first; });
  return std::prev(above)->code;
}

}  // namespace

std::vector<Step> staircase(const Encoding& e) {
  std::vector<Step> steps = positive_steps(e);
  const auto append = [&](const std::vector<Step>& more, std::uint32_t sign) {
    for (const Step& s : more) steps.push_back({s.first | sign, s.code});
  };
  append(nan_steps(e, false), 0);
  append(negative_steps(e), sign_of_pattern);
  append(nan_steps(e, true), sign_of_pattern);
  return steps;
}

std::uint32_t encode(float value, const Encoding& e) { return encode(value, cached_staircase(e)); }

float decode(std::uint32_t code, Format format) {
  const FormatInfo& f = info(format);
  const std::uint32_t sign = code & sign_bit(f) ? sign_of_pattern : 0;
  const int dropped = format == Format::tf32 ? tf32_dropped_bits : 0;
  const std::uint32_t index = code >> dropped & ((1u << (f.exponent_bits + f.mantissa_bits)) - 1);
  const std::uint32_t last = last_finite(f);
  if (index <= last) return std::bit_cast<float>(pattern(magnitude(f, index)) | sign);
  if (index == last + 1 && f.has_infinity) return std::bit_cast<float>(infinity_pattern | sign);
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(default_nan()) | sign);
}

void encode(std::span<const float> values, const Encoding& e, std::span<std::uint32_t> codes) {
  const std::vector<Step>& steps = cached_staircase(e);
  std::transform(values.begin(), values.end(), codes.begin(), [&](float x) { return encode(x, steps); });
}

void decode(std::span<const std::uint32_t> codes, Format format, std::span<float> values) {
  std::transform(codes.begin(), codes.end(), values.begin(),
                 [&](std::uint32_t c) { return decode(c, format); });
}

}  // namespace nvfp4::reference
