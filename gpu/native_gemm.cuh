#pragma once
#include <cstdint>

#include "host_device.hpp"
#include "native_gemm.hpp"

/// What both native kernels share. A kernel's body is a template over the Machine that it runs on: the hardware, or an
/// emulator in the tests. `gpu` is its name in the bodies; shared memory is addressed by byte from its start.
namespace nvfp4::gpu {

constexpr int atom_bytes = 512;  ///< the scales of 128 rows and K = 64 in the 128x4 layout

NVFP4_HOST_DEVICE constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Byte offset of the atom of rows 128 `panel` .. + 127 and K = 64 `step` .. + 63.
NVFP4_HOST_DEVICE constexpr std::int64_t atom_at(std::int64_t panel, std::int64_t step, std::int64_t k) {
  return (panel * ceil_div(k, 64) + step) * atom_bytes;
}

/// The first row and column of an output tile.
struct TileCorner {
  std::int64_t row, col;
};

/// Blocks that run side by side share rows of A and B in L2: down 8 tiles, then to the right.
NVFP4_HOST_DEVICE constexpr TileCorner tile_of(std::int64_t block, const NativeGemm& p, int rows, int cols) {
  constexpr std::int64_t band = 8;
  const std::int64_t down = ceil_div(p.m, rows), right = ceil_div(p.n, cols),
                     first = block / (band * right) * band;
  const std::int64_t height = down - first < band ? down - first : band, within = block - first * right;
  return {(first + within % height) * rows, within / height * cols};
}

/// Up to `width` neighbours in a row of D: at once where rows are of whole groups, so that each is aligned.
template <int width, class Machine>
NVFP4_HOST_DEVICE void store(Machine& gpu, const NativeGemm& p, std::int64_t row, std::int64_t col,
                             const float* acc) {
  if (row >= p.m || col >= p.n) return;
  const std::int64_t at = row * p.n + col;
  if (p.n % width == 0) return gpu.template store<width>(at, acc);
  for (int i = 0; i < width && col + i < p.n; ++i) gpu.template store<1>(at + i, acc + i);
}

}  // namespace nvfp4::gpu
