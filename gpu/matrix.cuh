#pragma once
#include <cstdint>

#include <nvfp4/tensor.hpp>

#include "number.cuh"

namespace nvfp4::gpu {

/// A matrix on the device, or its transpose, element by element as FP32.
struct Elements {
  const void* data;
  std::int64_t rows, cols, row_stride, col_stride;
  Dtype dtype;
  NVFP4_HOST_DEVICE float at(std::int64_t row, std::int64_t col) const {
    const std::int64_t at = row * row_stride + col * col_stride;
    if (dtype == Dtype::fp32) return static_cast<const float*>(data)[at];
    const std::uint32_t code = static_cast<const std::uint16_t*>(data)[at];
    return dtype == Dtype::bf16 ? float_of(code << 16) : fp16_value(code).value;
  }
};

inline Elements elements(MatrixView x, bool transposed) {
  if (transposed) return {x.data, x.cols, x.rows, 1, x.cols, x.dtype};
  return {x.data, x.rows, x.cols, x.cols, 1, x.dtype};
}

}  // namespace nvfp4::gpu
