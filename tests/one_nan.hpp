#pragma once
#include <bit>
#include <cmath>

#include <nvfp4/tensor.hpp>

/// The only latitude in comparing with golden files, by tests/golden/README.md: the sign and payload of a
/// NaN, and some dialects' codes under a NaN scale, which are the machine's that made the file.
namespace nvfp4 {

inline void settle_nan(float& x) {
  if (std::isnan(x)) x = std::bit_cast<float>(0x7FC00000u);
}

inline BlockScaledTensor one_nan(BlockScaledTensor t) {
  for (std::uint8_t& scale : t.scales)
    if ((scale & 0x7F) == 0x7F) scale = 0x7F;
  for (float& g : t.global) settle_nan(g);
  const auto block_bytes = static_cast<std::size_t>(t.row_bytes() / t.blocks_per_row());
  for (std::size_t i = 0; t.spec.dialect->nan_codes_vary && i < t.codes.size(); ++i)
    if (t.scales[i / block_bytes] == 0x7F) t.codes[i] = 0;
  return t;
}

}  // namespace nvfp4
