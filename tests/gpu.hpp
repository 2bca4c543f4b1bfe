#pragma once
#ifdef NVFP4_WITH_GPU
#include <nvfp4/gpu.hpp>
#endif

#include <nvfp4/kernels.hpp>

#include <iostream>
#include <stdexcept>

/// The GPU layer, where this build has it and this machine a GPU.
namespace gpu_layer {

inline const nvfp4::Kernels* kernels() {
#ifdef NVFP4_WITH_GPU
  try {
    return &nvfp4::gpu_kernels();
  } catch (const std::runtime_error&) {
  }
#endif
  return nullptr;
}

/// For a case that is nothing without one.
inline bool is_missing() {
  if (kernels()) return false;
  std::cout << "not run: no GPU\n";
  return true;
}

}  // namespace gpu_layer
