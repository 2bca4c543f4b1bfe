#pragma once
#include <set>
#include <string>
#include <vector>

#include <nvfp4/checkpoint.hpp>

#include "plan.hpp"

namespace nvfp4 {

/// Counts what a plan does with each tensor of its input.
class Tally {
 public:
  void keep(const Tensor&, const TensorGroup&, const std::string& reason);
  void quantize(const Weight&, const TensorGroup&);

  /// Modules of the matrices that were kept, sorted, unless another of their tensors is quantized: a loader must not
  /// expect scales for them.
  std::vector<std::string> kept_modules() const;
  CheckpointSummary summary() const { return summary_; }

 private:
  CheckpointSummary summary_;
  std::set<std::string> modules_, quantized_modules_;
};

}  // namespace nvfp4
