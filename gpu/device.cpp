#include "device.hpp"

#include <nvfp4/gpu.hpp>

#include <stdexcept>
#include <string>

#include "check.hpp"

namespace nvfp4::gpu {

int capability() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) throw std::runtime_error(std::string("no GPU: ") + cudaGetErrorString(status));
  if (count == 0) throw std::runtime_error("no GPU");
  int device = 0, major = 0, minor = 0;
  check(cudaGetDevice(&device), "device");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "device");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "device");
  return 10 * major + minor;
}

void require_device() {
  static const int found = capability();
  if (found < 80)
    throw std::runtime_error("the GPU has compute capability " + std::to_string(found / 10) + "." +
                             std::to_string(found % 10) + ": expected 8.0 or more");
}

void require_tensor_core_sum() {
  if (const int found = capability(); found < 90)
    throw std::invalid_argument(
        "a transform on tensor cores needs compute capability 9.0 or more: those of " +
        std::to_string(found / 10) + "." + std::to_string(found % 10) + " sum otherwise");
}

}  // namespace nvfp4::gpu

namespace nvfp4 {

std::string gpu_description() {
  gpu::require_device();
  int device = 0, driver = 0;
  gpu::check(cudaGetDevice(&device), "device");
  cudaDeviceProp properties{};
  gpu::check(cudaGetDeviceProperties(&properties, device), "device");
  gpu::check(cudaDriverGetVersion(&driver), "driver");
  return std::string(properties.name) + ", compute capability " + std::to_string(properties.major) + "." +
         std::to_string(properties.minor) + ", driver for CUDA " + std::to_string(driver / 1000) + "." +
         std::to_string(driver % 1000 / 10);
}

}  // namespace nvfp4
