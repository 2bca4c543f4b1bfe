#pragma once
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "convention.hpp"

namespace nvfp4 {

/// Tensors that are made together and lie together in the output.
struct TensorGroup {
  std::vector<OutputTensor> tensors;
  std::uint64_t input_bytes;                     ///< that make() reads
  std::function<std::vector<io::Bytes>()> make;  ///< the bytes of each of `tensors`

  std::uint64_t bytes() const;
};

/// All of an output checkpoint but its bytes: make() of each group gives them when their turn comes.
struct CheckpointPlan {
  std::vector<TensorGroup> groups = {};
  Documents documents;
  io::Metadata metadata;  ///< of every file's header
  std::vector<std::string> companions;
  nlohmann::ordered_json provenance = {};  ///< the SHA-256 of the input comes when it is known
};

/// A tensor of the input as it is.
TensorGroup copied(const Checkpoint&, const Tensor&);

/// In an order in which every tensor of a safetensors file, which has no holes, is aligned to its element. A group
/// whose size would displace the next is taken apart, its parts made one by one.
std::vector<TensorGroup> aligned(std::vector<TensorGroup>);

/// Throws std::invalid_argument where two groups write one name.
void refuse_collisions(const CheckpointPlan&);

}  // namespace nvfp4
