#pragma once
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <nvfp4/arithmetic.hpp>
#include <nvfp4/kernels.hpp>

#include "number.hpp"

/// An FP32 number for include/nvfp4/dialects that writes down what a dialect does with it, so that no
/// formula is written twice.
namespace nvfp4::cli {

struct Step {
  enum class Kind : std::uint8_t { arithmetic, rounding } kind;
  std::string text;  ///< "2688 / 12"
  float value;       ///< its result; of a rounding, what is rounded
  Format format = Format::e2m1;
  std::uint32_t code = 0;  ///< of a rounding
};
using Trace = std::vector<Step>;

struct TracedCode {
  std::uint32_t bits;
  explicit TracedCode(std::uint32_t bits) : bits(bits) {}
};

struct TracedNumber {
  using Code = TracedCode;
  float value;
  Trace* trace = nullptr;  ///< null for a constant
  explicit TracedNumber(float value, Trace* trace = nullptr) : value(value), trace(trace) {}
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
inline bool operator==(TracedNumber a, TracedNumber b) { return a.value == b.value; }
inline bool operator<(TracedNumber a, TracedNumber b) { return a.value < b.value; }
inline bool is_nan(TracedNumber a) { return std::isnan(a.value); }
inline TracedCode operator|(TracedCode a, TracedCode b) { return TracedCode(a.bits | b.bits); }
inline TracedCode select(bool mask, TracedCode x, TracedCode y) { return mask ? x : y; }

/// A choice is a step only where it changes the number.
inline TracedNumber select(bool mask, TracedNumber x, TracedNumber y) {
  if (!mask) return y;
  return note("the dialect's special case of " + y.text(), x.value, trace_of(x, y));
}
inline TracedNumber min_num(TracedNumber a, TracedNumber bound) {
  return a < bound ? a : note("min(" + a.text() + ", " + bound.text() + ")", bound.value, trace_of(a, bound));
}
inline TracedNumber min_nan(TracedNumber a, TracedNumber bound) {
  return bound < a ? note("min(" + a.text() + ", " + bound.text() + ")", bound.value, trace_of(a, bound)) : a;
}
inline TracedCode negative(TracedNumber y) { return TracedCode(y.value < 0 ? 8 : 0); }

inline std::uint32_t note_rounding(TracedNumber y, Format format, std::string text) {
  std::uint32_t code;
  reference_kernels().encode({&y.value, 1}, {.format = format}, {&code, 1});
  if (y.trace) y.trace->push_back({Step::Kind::rounding, std::move(text), y.value, format, code});
  return code;
}

inline TracedScale e4m3_satfinite(TracedNumber t) {
  const std::uint32_t code = note_rounding(t, Format::ue4m3, "round to E4M3");
  float value;
  reference_kernels().decode({&code, 1}, Format::ue4m3, {&value, 1});
  return {TracedCode(code), TracedNumber(value, t.trace)};
}

inline TracedCode e2m1_satfinite(TracedNumber y) {
  return TracedCode(note_rounding(y, Format::e2m1, "round to E2M1"));
}

inline TracedCode e2m1_magnitude(TracedNumber y) {
  const TracedNumber magnitude(std::fabs(y.value), y.trace);
  return TracedCode(note_rounding(magnitude, Format::e2m1, "round to E2M1"));
}

}  // namespace nvfp4::cli
