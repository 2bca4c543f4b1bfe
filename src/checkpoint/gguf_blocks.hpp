#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <nvfp4/formats.hpp>

namespace nvfp4 {

/// A matrix in ggml's blocks, and in a Weight's order.
struct CodesAndScales {
  std::vector<std::uint8_t> codes, scales;
};

/// Of NVFP4 (scale ue4m3; 64 elements in 36 bytes) or MXFP4 (e8m0; 32 in 17, the scale first, element j in the low and
/// j + 16 in the high nibble of byte j).
CodesAndScales from_ggml_blocks(Format scale, std::span<const std::uint8_t> blocks);
std::vector<std::uint8_t> to_ggml_blocks(Format scale, std::span<const std::uint8_t> codes,
                                         std::span<const std::uint8_t> scales);

}  // namespace nvfp4
