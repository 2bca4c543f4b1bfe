#pragma once
#include <map>
#include <set>
#include <string>

#include <nlohmann/json.hpp>

#include "weight.hpp"

namespace nvfp4 {

/// What second-level scales were before conversions, so that converting back gives their bits again. 1/(1/x) is not x for
/// one FP32 number in eight, and a weight that had none gets a 1 where the format wants one: the output's provenance keeps
/// such an x, and which weights had none.
class ScaleHistory {
 public:
  /// `before`: what the input's own provenance keeps, or null.
  explicit ScaleHistory(const nlohmann::ordered_json& before);

  /// The weight's scale of 1 stands for none.
  bool was_single_level(const Checkpoint&, const Weight&) const;
  /// A scale of the weight ("second" or "input") in the direction `use`.
  SecondScale turned(const std::string& weight, const std::string& which, const SecondScale&,
                     ScaleUse use) const;
  /// Keeps what turning the weight's scales loses; `use` is the output's direction.
  void keep(const Checkpoint&, const Weight&, ScaleUse use);
  /// Null where nothing is kept.
  nlohmann::ordered_json json() const;

 private:
  using Values = std::map<std::pair<std::string, std::string>, std::vector<float>>;
  Values before_, kept_;
  std::set<std::string> single_level_before_, single_level_;
};

}  // namespace nvfp4
