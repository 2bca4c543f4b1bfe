#include "lint.hpp"

#include <algorithm>
#include <charconv>

namespace nvfp4 {

std::vector<Finding> Findings::sorted() && {
  std::stable_sort(all_.begin(), all_.end(),
                   [](const Finding& a, const Finding& b) { return a.rule->code < b.rule->code; });
  return std::move(all_);
}

void lint_index(const LintInput& in, Findings& findings) {
  for (const std::string& fault : in.checkpoint.faults())
    findings.add("NV012", "index", fault + ": expected the same tensors in both");
}

std::string number_text(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value, std::chars_format::general, 6).ptr};
}

std::string percent_text(double share) {
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof text, 100 * share, std::chars_format::fixed,
                                         share < 0.1 ? 1 : 0)
                               .ptr) +
         "%";
}

std::string shape_text(const Shape& shape) {
  std::string text;
  for (const std::int64_t extent : shape) text += (text.empty() ? "" : ", ") + std::to_string(extent);
  return "[" + text + "]";
}

std::string of_text(std::int64_t part, std::int64_t whole, std::string_view what) {
  return std::to_string(part) + " of " + std::to_string(whole) + " " + std::string(what);
}

std::vector<Finding> lint_checkpoint(const std::string& path, const LintOptions& options) {
  for (const std::string& code : options.ignored) lint_rule(code);
  const Checkpoint checkpoint(path);
  const std::vector<HeldWeight> weights = held_weights(checkpoint);
  const std::vector<WeightFacts> facts = facts_of(checkpoint, weights, options.threads, options.watch);
  const std::vector<Declaration> declared = declarations(checkpoint);
  const LintInput in{checkpoint, declared, weights, facts};
  Findings findings;
  for (const auto family : {lint_index, lint_parts, lint_peers, lint_values, lint_documents})
    family(in, findings);
  std::vector<Finding> all = std::move(findings).sorted();
  std::erase_if(all, [&](const Finding& f) {
    return std::find(options.ignored.begin(), options.ignored.end(), f.rule->code) != options.ignored.end();
  });
  return all;
}

}  // namespace nvfp4
