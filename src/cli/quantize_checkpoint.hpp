#pragma once
#include <string>
#include <vector>

#include "checkpoint_output.hpp"
#include "profile.hpp"

namespace nvfp4::cli {

/// What `quantize` takes for a whole checkpoint and for nothing else.
struct QuantizeCheckpointOptions : CheckpointOutput {
  std::string format, input_amax;
  std::vector<std::string> include, exclude, stacks;
  bool shared_scale = false;
};
void declare_quantize_checkpoint(CLI::App&, QuantizeCheckpointOptions&);

/// `profile` decides where --dialect or another of its options was given, else the format's own producer.
Outcome quantize_checkpoint(const std::string& in, const std::string& out, bool force,
                            const QuantizeCheckpointOptions&, ProfileOptions profile, bool dialect_given,
                            const Kernels&);

}  // namespace nvfp4::cli
