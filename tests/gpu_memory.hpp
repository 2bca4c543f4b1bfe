#pragma once
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <cstdint>
#include <span>
#include <vector>

#include "gpu/memory.hpp"
#include "tests/gpu.hpp"

/// The device functions of gpu/ run on the host and, through their launches, on a GPU; tests hold both against the CPU.
namespace gpu_memory {

enum class Where { host, device };

/// The types of a case that both run.
struct OnHost {
  static constexpr Where where = Where::host;
};
struct OnDevice {
  static constexpr Where where = Where::device;
};

/// None where there is no GPU, which is said.
template <class Place>
std::vector<Where> places() {
  if (Place::where == Where::device && gpu_layer::is_missing()) return {};
  return {Place::where};
}

/// An array in one or the other memory.
template <class T>
class Buffer {
 public:
  Buffer(Where where, std::span<const T> values)
      : where_(where),
        host_(values.begin(), values.end()),
        device_(where == Where::host ? std::span<const T>{} : values) {}
  Buffer(Where where, std::size_t size) : Buffer(where, std::vector<T>(size)) {}

  /// Null where there are none.
  T* data() { return host_.empty() ? nullptr : where_ == Where::host ? host_.data() : device_.data(); }
  const std::vector<T>& values() {
    if (where_ == Where::device) device_.copy_to(host_);
    return host_;
  }

 private:
  Where where_;
  std::vector<T> host_;
  nvfp4::gpu::DeviceArray<T> device_;
};

/// body(i) of each i below n, on the host.
template <class Body>
void each(std::int64_t n, const Body& body) {
#pragma omp parallel for schedule(dynamic, 64)
  for (std::int64_t i = 0; i < n; ++i) body(i);
}

/// body(row, col) of each element.
template <class Body>
void each_element(std::int64_t rows, std::int64_t cols, const Body& body) {
  each(rows * cols, [&](std::int64_t n) { body(n / cols, n % cols); });
}

}  // namespace gpu_memory

TYPE_TO_STRING_AS("host", gpu_memory::OnHost);
TYPE_TO_STRING_AS("device", gpu_memory::OnDevice);
