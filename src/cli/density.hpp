#pragma once
#include <nvfp4/tensor.hpp>

namespace nvfp4::cli {

/// Bits of codes, block scales (one of a 16x16 block, which stands on each of its rows) and second-level scales.
inline double stored_bits(const BlockScaledTensor& t) {
  return 8.0 *
         static_cast<double>(t.codes.size() + t.scales.size() / static_cast<std::size_t>(t.spec.block.rows) +
                             4 * t.global.size());
}

}  // namespace nvfp4::cli
