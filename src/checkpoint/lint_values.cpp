#include <cmath>
#include <set>

#include "../number_text.hpp"
#include "lint.hpp"

/// What the bits of one weight show.
namespace nvfp4 {
namespace {

std::string first_text(const BlockPlace& place, const Weight& w) {
  return "row " + std::to_string(place.row) + ", block " + std::to_string(place.block) + " (columns " +
         std::to_string(place.block * w.block()) + " to " +
         std::to_string((place.block + 1) * w.block() - 1) + ")";
}

void lint_codes(const Weight& w, const WeightFacts& f, Findings& findings) {
  if (f.nan) {
    const bool plain = w.scale == Format::ue4m3 && f.scales.count[0x7F];
    findings.add("NV004", w.name,
                 of_text(f.scales.nan(), f.scales.blocks, "block scales are NaN, ") +
                     hex8(plain ? 0x7F : 0xFF) + ": the first in " + first_text(*f.nan, w),
                 f.nan);
  }
  if (f.negative) {
    std::int64_t negative = 0;
    for (std::size_t code = 0x80; code < 0xFF; ++code) negative += f.scales.count[code];
    findings.add("NV013", w.name,
                 of_text(negative, f.scales.blocks, "block scales have their sign bit set: the first in ") +
                     first_text(*f.negative, w),
                 f.negative);
  }
}

void lint_order(const Weight& w, const WeightFacts& f, Findings& findings) {
  if (!f.order) return;
  const bool from = f.order->reorder == Reorder::from_128x4;
  findings.add("NV006", w.name,
               std::string(from ? "read as linear" : "taken out of the 128x4 layout") +
                   ", rows and columns explain " + percent_text(f.order->explained_now) +
                   " of the block scales' variance; " +
                   (from ? "taken out of the 128x4 layout" : "read as linear") + ", " +
                   percent_text(f.order->explained) + ", " + number_text(f.order->deviations) +
                   " standard deviations more than chance gives");
}

/// Of a second-level scale, or of an input's.
void lint_number(const std::string& place, const std::string& what, float value, Findings& findings) {
  const std::string found = what + " is " + number_text(value);
  if (!(value > 0) || std::isinf(value))
    findings.add("NV005", place, found + ": expected a positive finite number");
  else if (!std::isnormal(value) || !std::isnormal(1 / value))
    findings.add(
        "NV014", place,
        found + ": expected a number that is normal in FP32, as its reciprocal " + number_text(1 / value));
}

void lint_numbers(const Weight& w, const SecondScale& scale, const std::string& what, Findings& findings) {
  for (std::size_t i = 0; i < scale.values.size(); ++i)
    lint_number(w.name, what + (scale.values.size() > 1 ? " of expert " + std::to_string(i) : ""),
                scale.values[i], findings);
}

std::string expert_text(const Weight& w, std::size_t expert) {
  return w.experts() > 1 ? "expert " + std::to_string(expert) + ": " : "";
}

void lint_zeros(const Weight& w, const WeightFacts& f, Findings& findings) {
  if (f.nan || !f.scales.blocks) return;
  for (std::size_t e = 0; e < f.experts.size(); ++e)
    if (f.experts[e].top == 0)
      findings.add("NV017", w.name,
                   expert_text(w, e) + "all of " + std::to_string(elements(w.shape) / w.experts()) +
                       " elements decode to 0");
}

// Whether block scales use the range of E4M3. A scale shared with others is as large as the largest of them needs.

constexpr double low_top = 224;

std::set<float> well_used(const LintInput& in) {
  std::set<float> values;
  for (const WeightFacts& f : in.facts)
    for (std::size_t e = 0; f.second && f.scales.format == Format::ue4m3 && e < f.experts.size(); ++e)
      if (block_scale_value(Format::ue4m3, static_cast<std::uint8_t>(f.experts[e].top_scale)) > low_top &&
          !std::isnan(f.second_at(e)))
        values.insert(f.second_at(e));
  return values;
}

/// ModelOpt's W4A8 format leaves room: its second-level scale is amax / 448.
bool leaves_room(const LintInput& in) {
  for (const Declaration& d : in.declared)
    if (d.algorithm.starts_with("W4A8") || d.algorithm == "MIXED_PRECISION") return true;
  return false;
}

void lint_range(const LintInput& in, std::size_t i, const std::set<float>& used, Findings& findings) {
  const Weight& w = in.weights[i].weight;
  const WeightFacts& f = in.facts[i];
  if (!f.second || w.scale != Format::ue4m3 || findings.has("NV001", w.name) || findings.has("NV002", w.name))
    return;
  for (std::size_t e = 0; e < f.experts.size(); ++e) {
    const double top = block_scale_value(w.scale, static_cast<std::uint8_t>(f.experts[e].top_scale));
    if (f.experts[e].top == 0 || top > low_top || used.contains(f.second_at(e))) continue;
    findings.add(
        "NV018", w.name,
        expert_text(w, e) + "the largest block scale is " + number_text(top) +
            ", and no other weight shares the second-level scale: expected 448 (256 of some "
            "four-over-six quantizers), " +
            percent_text(static_cast<double>(f.scales.subnormal()) / static_cast<double>(f.scales.blocks)) +
            " are subnormal");
  }
}

}  // namespace

void lint_values(const LintInput& in, Findings& findings) {
  const std::set<float> used = well_used(in);
  const bool room = leaves_room(in);
  for (std::size_t i = 0; i < in.weights.size(); ++i) {
    const Weight& w = in.weights[i].weight;
    const WeightFacts& f = in.facts[i];
    lint_codes(w, f, findings);
    lint_order(w, f, findings);
    if (f.second) lint_numbers(w, *f.second, "second-level scale", findings);
    if (f.input) lint_numbers(w, *f.input, "scale of the input", findings);
    lint_zeros(w, f, findings);
    if (!room) lint_range(in, i, used, findings);
  }
}

}  // namespace nvfp4
