#pragma once
#include <cstdint>

#include "stream.hpp"

namespace nvfp4::gpu {

/// Linear block scales, rows x cols, in ScaleLayout::tiled_128x4: rows padded to 128 and columns to 4, by zeros.
void tile_scales(const std::uint8_t* linear, std::int64_t rows, std::int64_t cols, std::uint8_t* tiled,
                 Stream);

}  // namespace nvfp4::gpu
