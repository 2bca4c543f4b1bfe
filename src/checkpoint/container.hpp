#pragma once
#include <string_view>

#include "plan.hpp"

namespace nvfp4 {

/// GGUF's name of the tensor's type; empty where it has none.
std::string_view gguf_type_of(const OutputTensor&);

/// A tensor of the input as a file of the container holds it: as it is, or widened. Throws std::invalid_argument for a
/// type that the container has not, and for one that would be widened where that was not asked for.
TensorGroup kept_in(std::string_view container, const Checkpoint&, const Tensor&, bool widen);

/// Where everything lies in a file, and all that comes before the tensors' bytes. Between them are zeros.
struct FileLayout {
  std::string header;
  std::vector<std::uint64_t> begins;  ///< of each tensor
  std::uint64_t size = 0;
};
FileLayout file_layout(std::string_view container, std::span<const OutputTensor>, const io::Metadata&);

}  // namespace nvfp4
