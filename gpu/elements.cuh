#pragma once
#include <cstdint>

#include "check.hpp"
#include "stream.hpp"

namespace nvfp4::gpu {

template <class Body>
__global__ void run_each(std::int64_t n, Body body) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) body(i);
}

/// body(i) of each i below n, a thread each. `name` is for what goes wrong.
template <class Body>
void for_each(std::int64_t n, const Body& body, Stream stream, const char* name, std::int64_t threads = 256) {
  if (n == 0) return;
  run_each<<<static_cast<unsigned>((n + threads - 1) / threads), static_cast<unsigned>(threads), 0, stream>>>(
      n, body);
  check_launch(name);
}

template <class Body>
__global__ void run_each_element(std::int64_t cols, unsigned blocks_per_row, Body body) {
  const std::int64_t col = std::int64_t{blockIdx.x % blocks_per_row} * blockDim.x + threadIdx.x;
  if (col < cols) body(std::int64_t{blockIdx.x / blocks_per_row}, col);
}

/// body(row, col) of each element of a matrix, a thread each.
template <class Body>
void for_each_element(std::int64_t rows, std::int64_t cols, const Body& body, Stream stream,
                      const char* name) {
  if (rows == 0 || cols == 0) return;
  const std::int64_t threads = cols > 128  ? 256
                               : cols > 32 ? 128
                                           : 32,
                     blocks = (cols + threads - 1) / threads;
  run_each_element<<<static_cast<unsigned>(rows * blocks), static_cast<unsigned>(threads), 0, stream>>>(
      cols, static_cast<unsigned>(blocks), body);
  check_launch(name);
}

}  // namespace nvfp4::gpu
