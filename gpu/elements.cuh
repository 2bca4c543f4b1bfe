#pragma once
#include <algorithm>
#include <cstdint>

#include "check.hpp"
#include "stream.hpp"

namespace nvfp4::gpu {

template <class Body>
__global__ void run_each(std::int64_t n, Body body) {
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += step) body(i);
}

template <class Body>
__global__ void run_each_element(std::int64_t rows, std::int64_t cols, std::int64_t blocks_per_row,
                                 Body body) {
  for (std::int64_t b = blockIdx.x; b < rows * blocks_per_row; b += gridDim.x) {
    const std::int64_t row = b / blocks_per_row, col = b % blocks_per_row * blockDim.x + threadIdx.x;
    if (col < cols) body(row, col);
  }
}

/// Blocks that a grid has: beyond, each does several.
inline unsigned grid_of(std::int64_t blocks) {
  return static_cast<unsigned>(std::min<std::int64_t>(blocks, 0x7FFFFFFF));
}

/// body(i) of each i below n, a thread each. `name` is for what goes wrong.
template <class Body>
void for_each(std::int64_t n, const Body& body, Stream stream, const char* name, unsigned threads = 256) {
  if (n == 0) return;
  run_each<<<grid_of((n + threads - 1) / threads), threads, 0, stream>>>(n, body);
  check_launch(name);
}

/// body(row, col) of each element of a matrix, a thread each.
template <class Body>
void for_each_element(std::int64_t rows, std::int64_t cols, const Body& body, Stream stream,
                      const char* name) {
  if (rows == 0 || cols == 0) return;
  const unsigned threads = cols > 128 ? 256 : cols > 32 ? 128 : 32;
  const std::int64_t blocks_per_row = (cols + threads - 1) / threads;
  run_each_element<<<grid_of(rows * blocks_per_row), threads, 0, stream>>>(rows, cols, blocks_per_row, body);
  check_launch(name);
}

}  // namespace nvfp4::gpu
