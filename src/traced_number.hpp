#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <nvfp4/arithmetic.hpp>
#include <nvfp4/kernels.hpp>
#include <nvfp4/rcp_approx.hpp>

#include "number_text.hpp"

/// An FP32 number for include/nvfp4/dialects that writes down what a dialect does with it, so that no
/// formula is written twice.
namespace nvfp4::explained {

struct Step {
  enum class Kind : std::uint8_t { arithmetic, rounding } kind;
  std::string text;  ///< "2688 / 12"
  float value;       ///< its result; of a rounding, what is rounded
  Format format = Format::e2m1;
  std::uint32_t code = 0;  ///< of a rounding
  bool nearest = true;     ///< a rounding to nearest, ties to even, whose neighbours tell why
};
using Trace = std::vector<Step>;

struct TracedCode {
  std::uint32_t bits;
  explicit TracedCode(std::uint32_t bits) : bits(bits) {}
};

inline float decoded(std::uint32_t code, Format format) {
  float value;
  cpu_kernels().decode({&code, 1}, format, {&value, 1});
  return value;
}

struct TracedNumber {
  using Code = TracedCode;
  float value;
  Trace* trace = nullptr;  ///< null for a constant
  explicit TracedNumber(float value, Trace* trace = nullptr) : value(value), trace(trace) {}
  static TracedNumber e2m1_value(Code code) { return TracedNumber(decoded(code.bits, Format::e2m1)); }
  std::string text() const {
    return value == flt_max         ? "FLT_MAX"
           : value == one_sixth     ? "FP32(1/6)"
           : value == one_over_2688 ? "FP32(1/2688)"
                                    : shortest(value);
  }
};

struct TracedScale {
  TracedCode code;
  TracedNumber value;
};

inline Trace* trace_of(const TracedNumber& a, const TracedNumber& b) { return a.trace ? a.trace : b.trace; }

inline TracedNumber note(std::string text, float value, Trace* trace) {
  if (trace) trace->push_back({Step::Kind::arithmetic, std::move(text), value});
  return TracedNumber(value, trace);
}

inline TracedNumber operator*(TracedNumber a, TracedNumber b) {
  return note(a.text() + " * " + b.text(), a.value * b.value, trace_of(a, b));
}
inline TracedNumber operator/(TracedNumber a, TracedNumber b) {
  return note(a.text() + " / " + b.text(), a.value / b.value, trace_of(a, b));
}
inline TracedNumber operator+(TracedNumber a, TracedNumber b) {
  if (b.value == 0 && a.value != 0) return a;
  return note(a.text() + " + " + b.text(), a.value + b.value, trace_of(a, b));
}
inline TracedNumber operator-(TracedNumber a, TracedNumber b) {
  return note(a.text() + " - " + b.text(), a.value - b.value, trace_of(a, b));
}
inline TracedNumber multiply_add(TracedNumber a, TracedNumber b, TracedNumber c) {
  return note("fma(" + a.text() + ", " + b.text() + ", " + c.text() + ")",
              std::fma(a.value, b.value, c.value), trace_of(a, b));
}
inline bool operator==(TracedNumber a, TracedNumber b) { return a.value == b.value; }
inline bool operator<(TracedNumber a, TracedNumber b) { return a.value < b.value; }
inline bool is_nan(TracedNumber a) { return std::isnan(a.value); }
inline bool any_nan(TracedNumber a) { return is_nan(a); }
inline bool has_sign(TracedNumber a) { return std::signbit(a.value); }
inline TracedNumber abs(TracedNumber a) { return TracedNumber(std::fabs(a.value), a.trace); }
inline TracedCode operator|(TracedCode a, TracedCode b) { return TracedCode(a.bits | b.bits); }
inline TracedCode select(bool mask, TracedCode x, TracedCode y) { return mask ? x : y; }

/// A choice is a step only where it changes the number.
inline TracedNumber select(bool mask, TracedNumber x, TracedNumber y) {
  if (!mask || x.value == y.value) return y;
  return note("the dialect's special case of " + y.text(), x.value, trace_of(x, y));
}
inline TracedNumber min_num(TracedNumber a, TracedNumber bound) {
  return a < bound ? a : note("min(" + a.text() + ", " + bound.text() + ")", bound.value, trace_of(a, bound));
}
inline TracedNumber min_nan(TracedNumber a, TracedNumber bound) {
  return bound < a ? note("min(" + a.text() + ", " + bound.text() + ")", bound.value, trace_of(a, bound)) : a;
}
inline TracedNumber max_nan(TracedNumber a, TracedNumber bound) {
  return a < bound ? note("max(" + a.text() + ", " + bound.text() + ")", bound.value, trace_of(a, bound)) : a;
}
inline TracedCode negative(TracedNumber y) { return TracedCode(y.value < 0 ? 8 : 0); }

inline TracedNumber ftz(TracedNumber a) {
  if (a.value == 0 || !(std::fabs(a.value) < flt_min)) return a;
  return note("flush " + a.text(), std::copysign(0.f, a.value), a.trace);
}
inline TracedNumber rcp_approx_ftz(TracedNumber a) {
  return note("rcp.approx.ftz " + a.text(), nvfp4::rcp_approx_ftz(a.value), a.trace);
}

inline std::uint32_t encoded(float value, Format format, Rounding rounding, Overflow overflow) {
  std::uint32_t code;
  cpu_kernels().encode({&value, 1}, {.format = format, .rounding = rounding, .overflow = overflow},
                       {&code, 1});
  return code;
}

inline TracedNumber through(TracedNumber a, Format format) {
  const float value = decoded(encoded(a.value, format, Rounding::nearest_even, Overflow::special), format);
  return value == a.value
             ? a
             : note("round " + a.text() + " to " + std::string(info(format).name), value, a.trace);
}
inline TracedNumber to_bf16(TracedNumber a) { return through(a, Format::bf16); }
inline TracedNumber to_fp16(TracedNumber a) { return through(a, Format::fp16); }

inline std::uint32_t note_code(TracedNumber y, Format format, std::string text, std::uint32_t code,
                               bool nearest) {
  if (y.trace) y.trace->push_back({Step::Kind::rounding, std::move(text), y.value, format, code, nearest});
  return code;
}

inline TracedScale e4m3(TracedNumber t, Rounding rounding, std::string text) {
  const std::uint32_t code = encoded(t.value, Format::ue4m3, rounding, Overflow::saturate);
  note_code(t, Format::ue4m3, std::move(text), code, rounding == Rounding::nearest_even);
  return {TracedCode(code), TracedNumber(decoded(code, Format::ue4m3), t.trace)};
}
inline TracedScale e4m3_satfinite(TracedNumber t) { return e4m3(t, Rounding::nearest_even, "round to E4M3"); }
inline TracedScale e4m3_up(TracedNumber t) { return e4m3(t, Rounding::up, "round up to E4M3"); }

inline TracedScale e4m3_ggml(TracedNumber t) {
  std::uint32_t code = 0x7E;
  if (t.value < 0x1p-6f)
    code = static_cast<std::uint32_t>(std::fmin(std::floor(t.value * 512 + 0.5f), 7.f));
  else if (t.value < 248)
    code = encoded(t.value, Format::ue4m3, Rounding::ties_away, Overflow::saturate);
  note_code(t, Format::ue4m3, "round to E4M3, halves up, 448 from 248 on", code, false);
  return {TracedCode(code), TracedNumber(decoded(code, Format::ue4m3), t.trace)};
}

inline TracedScale e8m0(TracedNumber a, int shift, Rounding rounding) {
  std::uint32_t code = 0xFF;
  if (std::isinf(a.value)) code = 254;
  if (std::isfinite(a.value)) {
    int exponent = -1000;
    const float fraction = a.value == 0 ? 0.5f : std::frexp(a.value, &exponent);  // in [0.5, 1)
    const bool up =
        rounding == Rounding::up ? fraction > 0.5f : rounding == Rounding::ties_away && fraction >= 0.875f;
    code = static_cast<std::uint32_t>(std::clamp(exponent - 1 + shift + up + 127, 0, 254));
  }
  note_code(a, Format::e8m0, "round 2^" + std::to_string(shift) + " of it to a power of two", code, false);
  return {TracedCode(code), TracedNumber(decoded(code, Format::e8m0), a.trace)};
}

inline TracedCode e2m1(TracedNumber y, std::string text) {
  const std::uint32_t code = encoded(y.value, Format::e2m1, Rounding::nearest_even, Overflow::saturate);
  return TracedCode(note_code(y, Format::e2m1, std::move(text), code, true));
}
inline TracedCode e2m1_satfinite(TracedNumber y) { return e2m1(y, "round to E2M1"); }
inline TracedCode e2m1_magnitude(TracedNumber y) { return e2m1(abs(y), "round to E2M1"); }

/// Between which values |y| lies, and the sum whose carry decides.
inline std::string carry_story(float magnitude, std::uint32_t code, std::uint32_t random) {
  const float low = decoded(code, Format::e2m1);
  if (!(magnitude < 6) || magnitude == low) return "";
  const float high = decoded(code + 1, Format::e2m1);
  const auto steps = static_cast<int>(256 * (static_cast<double>(magnitude) - low) / (high - low));
  const bool carries = steps + static_cast<int>(random) >= 256;
  return ", " + shortest(low) + " < " + shortest(magnitude) + " < " + shortest(high) + ": " +
         std::to_string(steps) + " + " + std::to_string(random) +
         (carries ? " carries past 255" : " stays below 256");
}

inline TracedCode e2m1_by_byte(TracedNumber y, TracedCode random, SrRule rule) {
  const float magnitude = std::fabs(y.value);
  const std::uint32_t cut = encoded(magnitude, Format::e2m1, Rounding::toward_zero, Overflow::saturate);
  std::uint32_t code;
  cpu_kernels().encode_stochastic({&y.value, 1}, {&random.bits, 1}, {.rule = rule}, {&code, 1});
  const std::string story =
      rule == SrRule::carry ? carry_story(magnitude, cut, random.bits) : ", te_software";
  return TracedCode(
      note_code(y, Format::e2m1, "round to E2M1 by byte " + hex8(random.bits) + story, code, false));
}
inline TracedCode e2m1_carry(TracedNumber y, TracedCode random) {
  return e2m1_by_byte(y, random, SrRule::carry);
}
inline TracedCode e2m1_te_software(TracedNumber y, TracedCode random) {
  return e2m1_by_byte(y, random, SrRule::te_software);
}

inline TracedCode e2m1_nearest_first(TracedNumber x, TracedNumber d) {
  float least = INFINITY;
  std::uint32_t first = 0;
  for (std::uint32_t code = 0; code < 16; ++code) {
    const float distance = std::fabs(decoded(code, Format::e2m1) * d.value - x.value);
    if (distance < least) least = distance, first = code;
  }
  const std::string of = d.value == 1 ? "" : ", times " + d.text();
  return TracedCode(note_code(x, Format::e2m1, "the first nearest E2M1" + of, first, false));
}

inline TracedCode e2m1_from_bf16(TracedNumber y) {
  std::uint32_t code = 11;
  if (std::fabs(y.value) < 7) {
    code = encoded(std::fabs(y.value), Format::e2m1, Rounding::nearest_even, Overflow::saturate) |
           negative(y).bits;
  } else if (std::isfinite(y.value)) {
    const float grid = 2 * std::nearbyint(std::fabs(y.value) / 2);
    const std::uint32_t pattern = encoded(grid, Format::bf16, Rounding::nearest_even, Overflow::special);
    code = ((((pattern >> 7) - 126) * 2 + (pattern >> 6 & 1)) & 15) | negative(y).bits;
  }
  return TracedCode(
      note_code(y, Format::e2m1, "round on the grid of 1/2, 1 or 2 and cut a BF16", code, false));
}

}  // namespace nvfp4::explained
