#pragma once
#include <cuda_runtime.h>

#include <cstdio>
#include <gpu/check.hpp>
#include <span>
#include <string_view>
#include <vector>

namespace gpu_array {

/// Else says that the test is not run.
inline bool has_gpu(std::string_view test) {
  int count = 0;
  const bool found = cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
  static_cast<void>(cudaGetLastError());
  if (!found) std::printf("not run: no GPU (%.*s)\n", static_cast<int>(test.size()), test.data());
  return found;
}

/// An array on the device, of zeros or of these values.
template <class T>
class Array {
 public:
  explicit Array(std::size_t size) : size_(size) {
    nvfp4::gpu::check(cudaMalloc(reinterpret_cast<void**>(&data_), size * sizeof(T)), "cudaMalloc");
    nvfp4::gpu::check(cudaMemset(data_, 0, size * sizeof(T)), "cudaMemset");
  }
  explicit Array(const std::vector<T>& values) : Array(values.size()) {
    nvfp4::gpu::check(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice),
                      "cudaMemcpy");
  }
  Array(Array&&) = delete;
  ~Array() { cudaFree(data_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  T* data() const { return data_; }
  std::vector<T> values() const {
    std::vector<T> values(size_);
    nvfp4::gpu::check(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost),
                      "cudaMemcpy");
    return values;
  }

 private:
  std::size_t size_;
  T* data_ = nullptr;
};

}  // namespace gpu_array
