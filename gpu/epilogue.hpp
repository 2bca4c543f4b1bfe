#pragma once
#include <cstdint>

#include "stream.hpp"

/// What follows a product's accumulator, in place and in device memory. Every NaN comes out as 0x7FFFFFFF.
namespace nvfp4::gpu {

/// OutputScaling, its factors in device memory; null: no such step.
struct OutputFactors {
  float alpha = 1;
  const float *rows = nullptr, *cols = nullptr;
};

/// y: rows x cols, FP32.
void scale_output(float* y, std::int64_t rows, std::int64_t cols, const OutputFactors&, Stream);

/// y(i, j) + (factor * x(i, j)), the product rounded first. x: FP32, of y's shape, or `x_rows` 1 that stands for every row.
void add_output(float* y, std::int64_t rows, std::int64_t cols, float factor, const float* x,
                std::int64_t x_rows, Stream);

}  // namespace nvfp4::gpu
