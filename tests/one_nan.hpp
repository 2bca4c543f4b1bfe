#pragma once
#include <bit>
#include <cmath>

#include <nvfp4/tensor.hpp>

/// The only latitude in comparing with golden files, by tests/golden/README.md: the sign and payload of a
/// NaN, which are the machine's that made the file.
namespace nvfp4 {

inline void settle_nan(float& x) {
  if (std::isnan(x)) x = std::bit_cast<float>(0x7FC00000u);
}

inline BlockScaledTensor one_nan(BlockScaledTensor t) {
  for (std::uint8_t& scale : t.scales)
    if ((scale & 0x7F) == 0x7F) scale = 0x7F;
  for (float& g : t.global) settle_nan(g);
  return t;
}

}  // namespace nvfp4
