#pragma once
#include <functional>

#include "convention.hpp"

namespace nvfp4 {

/// own_weights(). Throws std::invalid_argument where there are none.
OwnWeights source_weights(const Checkpoint&);

/// Each weight once, where the first of its tensors lies, and each tensor that is no weight's.
void walk(const Checkpoint&, const std::vector<Weight>&, const std::function<void(const Weight&)>&,
          const std::function<void(const Tensor&)>&);

bool ends_in_any(std::string_view name, std::span<const std::string_view> ends);
/// "'a', 'b' and 7 more".
std::string listed(const std::vector<std::string>& names);

/// Of all the tensors that the weight is made of.
std::uint64_t input_bytes(const Checkpoint&, const Weight&);

}  // namespace nvfp4
