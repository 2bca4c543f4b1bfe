#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <nvfp4/tensor.hpp>

namespace nvfp4::gpu {

/// A matrix on the device, or its transpose, element by element as FP32.
struct Elements {
  const void* data;
  std::int64_t rows, cols, row_stride, col_stride;
  Dtype dtype;
  __device__ float at(std::int64_t row, std::int64_t col) const {
    const std::int64_t at = row * row_stride + col * col_stride;
    if (dtype == Dtype::fp32) return static_cast<const float*>(data)[at];
    if (dtype == Dtype::bf16) return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[at]);
    return __half2float(static_cast<const __half*>(data)[at]);
  }
};

inline Elements elements(MatrixView x, bool transposed) {
  if (transposed) return {x.data, x.cols, x.rows, 1, x.cols, x.dtype};
  return {x.data, x.rows, x.cols, x.cols, 1, x.dtype};
}

}  // namespace nvfp4::gpu
