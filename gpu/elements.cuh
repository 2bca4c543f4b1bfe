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
void for_each(std::int64_t n, const Body& body, Stream stream, const char* name) {
  constexpr std::int64_t threads = 256;
  if (n == 0) return;
  run_each<<<static_cast<unsigned>((n + threads - 1) / threads), threads, 0, stream>>>(n, body);
  check_launch(name);
}

}  // namespace nvfp4::gpu
