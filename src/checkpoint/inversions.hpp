#pragma once
#include <map>
#include <string>

#include <nlohmann/json.hpp>

#include "weight.hpp"

namespace nvfp4 {

/// Second-level scales on their way through formats of both directions. 1/(1/x) is not x for one FP32 number in eight, so
/// the output's provenance keeps such an x, and converting back gives its bits again.
class Inversions {
 public:
  /// `before`: what the input's own provenance keeps, or null.
  explicit Inversions(const nlohmann::ordered_json& before);

  /// A scale of the weight ("second" or "input") in the direction `use`.
  SecondScale turned(const std::string& weight, const std::string& which, const SecondScale&,
                     ScaleUse use) const;
  /// Keeps those of the weight's scales that turning loses; `use` is the output's direction.
  void keep(const Checkpoint&, const Weight&, ScaleUse use);
  /// Null where nothing is kept.
  nlohmann::ordered_json json() const;

 private:
  using Values = std::map<std::pair<std::string, std::string>, std::vector<float>>;
  Values before_, kept_;
};

}  // namespace nvfp4
