#include "tie_margin.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>

#include "explain_question.hpp"
#include "number_text.hpp"
#include "stored_code.hpp"

namespace nvfp4 {
namespace {

/// Binary64 holds the difference exactly where it matters: at and near the midpoint.
std::string text_of(const RoundingStory& story, float value) {
  if (story.low == story.high) return "tie margin: none, " + story.why + '\n';
  const double middle = (static_cast<double>(story.low) + story.high) / 2;
  char margin[32];
  std::snprintf(margin, sizeof margin, "%.9g", std::fabs(std::fabs(static_cast<double>(value)) - middle));
  return "tie margin: " + std::string(margin) + ", " + shortest(std::fabs(value)) + " between " +
         shortest(story.low) + " and " + shortest(story.high) + '\n';
}

std::string text_of(const std::vector<ExplainedStep>& steps, std::uint32_t code) {
  const auto last = std::find_if(steps.rbegin(), steps.rend(),
                                 [&](const ExplainedStep& step) { return step.story && step.code == code; });
  return last == steps.rend() ? "" : text_of(*last->story, last->value);
}

}  // namespace

std::string tie_margin(const BlockScaledTensor& expected, MatrixView input, std::int64_t row,
                       std::int64_t col, Rounded what) try {
  if (expected.spec.stochastic && what == Rounded::element) return "";
  const auto lane = static_cast<std::size_t>(col % expected.spec.block.cols);
  const ExplainQuestion question = explain_question(input, expected.spec, row, col);
  if (lane >= question.values.size()) return "";
  const Explanation e = explain(question)[lane];
  const auto scale = scale_at(expected, row, col);
  const auto code = static_cast<std::uint32_t>(code_at(expected, row, col));
  if (e.scale_code != scale || (what == Rounded::element && e.code != code)) return "";
  return what == Rounded::element ? text_of(e.element, code) : text_of(e.block_scale, scale);
} catch (const std::invalid_argument&) {  // maxima that explain() has no walk for, such as NaN
  return "";
}

}  // namespace nvfp4
