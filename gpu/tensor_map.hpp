#pragma once
#include <cuda.h>

#include <cstdint>
#include <span>

namespace nvfp4::gpu {

/// TMA's view of `data`, swizzled by 128 bytes, zeros outside. Strides are in bytes, of all dimensions but the first.
/// Throws std::runtime_error where the driver has no TMA or refuses the map.
CUtensorMap tensor_map(CUtensorMapDataType, const void* data, std::span<const cuuint64_t> sizes,
                       std::span<const cuuint64_t> strides, std::span<const cuuint32_t> box);

/// Of a matrix of packed codes as bytes: boxes of 128 bytes by `box_rows` rows (at most 256). `codes` is the device's and
/// aligned to 16, row_bytes a multiple of 16.
CUtensorMap codes_map(const std::uint8_t* codes, std::int64_t rows, std::int64_t row_bytes, int box_rows);

}  // namespace nvfp4::gpu
