#pragma once
#include <bit>
#include <cstdint>

#include "epilogue.hpp"
#include "host_device.hpp"

namespace nvfp4::gpu {

NVFP4_HOST_DEVICE inline float with_gpu_nan(float y) { return y != y ? std::bit_cast<float>(0x7FFFFFFF) : y; }

/// One output of scale_output().
struct ScaleOutput {
  float* y;
  std::int64_t cols;
  OutputFactors s;

  NVFP4_HOST_DEVICE void operator()(std::int64_t row, std::int64_t col) const {
    const std::int64_t n = row * cols + col;
    float scaled = y[n] * s.alpha;
    if (s.rows) scaled = scaled * s.rows[row];
    if (s.cols) scaled = scaled * s.cols[col];
    y[n] = with_gpu_nan(scaled);
  }
};

/// One of add_output().
struct AddOutput {
  float* y;
  std::int64_t cols;
  float factor;
  const float* x;
  bool one_row;

  NVFP4_HOST_DEVICE void operator()(std::int64_t row, std::int64_t col) const {
    const std::int64_t n = row * cols + col;
    const float term = factor * x[one_row ? col : n];
    y[n] = with_gpu_nan(y[n] + term);
  }
};

}  // namespace nvfp4::gpu
