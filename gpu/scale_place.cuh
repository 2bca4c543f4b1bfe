#pragma once
#include <nvfp4/layout.hpp>

#include <stdexcept>
#include <string>

#include "host_device.hpp"

namespace nvfp4::gpu {

/// Tiles across a row of scales in the 128x4 layout; 0 where they are linear. Throws std::invalid_argument for others.
inline std::uint32_t scale_tiles(ScaleLayout layout, std::uint32_t blocks) {
  if (layout == ScaleLayout::linear) return 0;
  if (layout != ScaleLayout::tiled_128x4)
    throw std::invalid_argument("scale layout " + std::string(name(layout)) + ": expected linear or 128x4");
  return (blocks + 3) / 4;
}

/// Where the 128x4 layout has the scale of a block: offset() of layout.hpp.
NVFP4_HOST_DEVICE inline std::uint64_t tiled_scale(std::uint32_t row, std::uint32_t block,
                                                   std::uint32_t tiles) {
  return (std::uint64_t{row / 128} * tiles + block / 4) * 512 + row % 32 * 16 + row % 128 / 32 * 4 +
         block % 4;
}

}  // namespace nvfp4::gpu
