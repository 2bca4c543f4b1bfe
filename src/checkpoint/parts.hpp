#pragma once
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "facts.hpp"

namespace nvfp4 {

enum class Part : std::uint8_t { codes, block_scales, second, input };

/// Tensors that by their names belong to one block-scaled weight, whether or not all are there and right, and that no
/// convention took for a part of a whole one.
struct LooseParts {
  std::string weight;                  ///< the name that it would have
  std::string_view family;             ///< whose names they are
  bool whole = false;                  ///< the weight itself was found: they are what it did not want
  std::array<const Tensor*, 4> of{};   ///< by Part; null where there is none
  std::array<std::string, 4> names{};  ///< that they have, or would have by the family
  const Tensor* at(Part p) const { return of[static_cast<std::size_t>(p)]; }
  const std::string& name_of(Part p) const { return names[static_cast<std::size_t>(p)]; }
};

/// In the order of their first tensors.
std::vector<LooseParts> loose_parts(const Checkpoint&, const std::vector<HeldWeight>& whole);

}  // namespace nvfp4
