#include "tiled_scales.hpp"

#include "elements.cuh"

namespace nvfp4::gpu {
namespace {

/// Writes byte i of the tiles: tiles of 512 bytes row after row, in each a row's four columns side by side, rows 32 apart
/// after each other.
struct TiledScale {
  const std::uint8_t* linear;
  std::int64_t rows, cols, tile_cols;
  std::uint8_t* tiled;
  __device__ void operator()(std::int64_t i) const {
    const std::int64_t tile = i / 512, within = i % 512;
    const std::int64_t row = tile / tile_cols * 128 + within % 16 / 4 * 32 + within / 16,
                       col = tile % tile_cols * 4 + within % 4;
    tiled[i] = row < rows && col < cols ? linear[row * cols + col] : std::uint8_t{0};
  }
};

}  // namespace

void tile_scales(const std::uint8_t* linear, std::int64_t rows, std::int64_t cols, std::uint8_t* tiled,
                 Stream stream) {
  const std::int64_t tile_cols = (cols + 3) / 4;
  for_each((rows + 127) / 128 * tile_cols * 512, TiledScale{linear, rows, cols, tile_cols, tiled}, stream,
           "tile_scales");
}

}  // namespace nvfp4::gpu
