#pragma once
#include <set>
#include <string>
#include <vector>

#include <nvfp4/lint.hpp>

#include "declaration.hpp"
#include "facts.hpp"

namespace nvfp4 {

class Findings {
 public:
  void add(std::string_view code, std::string place, std::string text, std::optional<BlockPlace> first = {}) {
    const LintRule& rule = lint_rule(code);
    found_.emplace(rule.code, place);
    all_.push_back({&rule, std::move(place), std::move(text), first});
  }
  bool has(std::string_view code, const std::string& place) const { return found_.contains({code, place}); }
  std::vector<Finding> sorted() &&;

 private:
  std::vector<Finding> all_;
  std::set<std::pair<std::string_view, std::string>> found_;
};

struct LintInput {
  const Checkpoint& checkpoint;
  const std::vector<Declaration>& declared;
  const std::vector<HeldWeight>& weights;
  const std::vector<WeightFacts>& facts;  ///< of each weight
};

// The families of rules. Those of peers come before those of values, which leave out what they explain.
void lint_index(const LintInput&, Findings&);   ///< NV012
void lint_parts(const LintInput&, Findings&);   ///< NV006 by size, NV007, NV009, NV015, NV016
void lint_peers(const LintInput&, Findings&);   ///< NV001, NV002, NV003, NV011
void lint_values(const LintInput&, Findings&);  ///< NV004, NV005, NV006 by order, NV013, NV014, NV017, NV018
void lint_documents(const LintInput&, Findings&);  ///< NV008, NV010, NV019 to NV022

// Words of findings.
std::string number_text(double);  ///< six digits
std::string percent_text(double share);
std::string shape_text(const Shape&);                                               ///< "[64, 8]"
std::string of_text(std::int64_t part, std::int64_t whole, std::string_view what);  ///< "3 of 128 blocks"

}  // namespace nvfp4
