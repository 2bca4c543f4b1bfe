#pragma once
#include <cstddef>
#include <span>
#include <utility>

#include "check.hpp"

namespace nvfp4::gpu {

/// Numbers on the current device, for as long as this lives; in order with the default stream.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t count) : count_(count) {
    if (count)
      check(cudaMallocAsync(reinterpret_cast<void**>(&data_), bytes(), nullptr), "memory on the device");
  }
  explicit DeviceArray(std::span<const T> from) : DeviceArray(from.size()) {
    if (count_) check(cudaMemcpy(data_, from.data(), bytes(), cudaMemcpyHostToDevice), "copy to the device");
  }
  DeviceArray(DeviceArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  DeviceArray& operator=(DeviceArray&&) = delete;
  ~DeviceArray() {
    if (data_) static_cast<void>(cudaFreeAsync(data_, nullptr));
  }

  T* data() const { return data_; }
  std::size_t size() const { return count_; }
  std::size_t bytes() const { return count_ * sizeof(T); }
  void clear() const {
    if (count_) check(cudaMemsetAsync(data_, 0, bytes(), nullptr), "memset");
  }
  /// Waits for all that was asked of the device before. `to` has size() numbers.
  void copy_to(std::span<T> to) const {
    if (count_) check(cudaMemcpy(to.data(), data_, bytes(), cudaMemcpyDeviceToHost), "copy from the device");
  }

 private:
  T* data_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace nvfp4::gpu
