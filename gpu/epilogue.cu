#include "epilogue.hpp"

#include "elements.cuh"
#include "epilogue.cuh"

namespace nvfp4::gpu {

void scale_output(float* y, std::int64_t rows, std::int64_t cols, const OutputFactors& s, Stream stream) {
  for_each_element(rows, cols, ScaleOutput{y, cols, s}, stream, "scale_output");
}

void add_output(float* y, std::int64_t rows, std::int64_t cols, float factor, const float* x,
                std::int64_t x_rows, Stream stream) {
  for_each_element(rows, cols, AddOutput{y, cols, factor, x, x_rows == 1}, stream, "add_output");
}

}  // namespace nvfp4::gpu
