#pragma once
#include <gpu/check.hpp>

#include <cstddef>
#include <span>
#include <vector>

namespace nvfp4::gpu {

/// Memory of the current device. Only for what may allocate and wait.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t size) : size_(size) {
    check(cudaMalloc(&data_, (size ? size : 1) * sizeof(T)), "cudaMalloc");
  }
  explicit DeviceArray(std::span<const T> from) : DeviceArray(from.size()) {
    check(cudaMemcpy(data_, from.data(), from.size_bytes(), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::vector<T> host() const {
    std::vector<T> to(size_);
    check(cudaMemcpy(to.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return to;
  }

 private:
  std::size_t size_;
  T* data_ = nullptr;
};

}  // namespace nvfp4::gpu
