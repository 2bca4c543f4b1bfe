#pragma once
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace nvfp4::gpu {

/// Throws std::runtime_error, which names the call and what CUDA says of it.
inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // else it would be reported a second time
  throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
}

/// After a kernel launch.
inline void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

}  // namespace nvfp4::gpu
