#pragma once
#include <cuda.h>

#include <cstdint>

namespace nvfp4::gpu {

/// TMA's view of a matrix of packed codes as bytes: boxes of 128 bytes by `box_rows` rows (at most 256), swizzled by 128
/// bytes, zeros outside. `codes` is the device's and aligned to 16, row_bytes a multiple of 16. Throws
/// std::runtime_error where the driver has no TMA or refuses the map.
CUtensorMap codes_map(const std::uint8_t* codes, std::int64_t rows, std::int64_t row_bytes, int box_rows);

}  // namespace nvfp4::gpu
