#include <cstdio>
#include <stdexcept>

#include <nvfp4/gpu.hpp>

int main() {
  try {
    std::puts(nvfp4::gpu_kernels().name.data());
  } catch (const std::runtime_error& e) {
    std::puts(e.what());
  }
}
