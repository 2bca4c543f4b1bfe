#include "epilogue.hpp"

#include <bit>
#include <cmath>

#include <nvfp4/kernels.hpp>

#include "float_environment.hpp"

namespace nvfp4::cpu {
namespace {

float with_gpu_nan(float y) { return std::isnan(y) ? std::bit_cast<float>(0x7FFFFFFFu) : y; }

void scale_row(float* row, std::int64_t i, std::int64_t cols, const OutputScaling& s) {
  for (std::int64_t j = 0; j < cols; ++j) {
    float y = row[j] * s.alpha;
    if (!s.rows.empty()) y *= s.rows[static_cast<std::size_t>(i)];
    if (!s.cols.empty()) y *= s.cols[static_cast<std::size_t>(j)];
    row[j] = with_gpu_nan(y);
  }
}

void add_row(float* row, float factor, const float* x, std::int64_t cols) {
  for (std::int64_t j = 0; j < cols; ++j) row[j] = with_gpu_nan(row[j] + factor * x[j]);
}

}  // namespace

Matrix scale_output(Matrix accumulator, const OutputScaling& s) {
#pragma omp parallel num_threads(threads())
  {
    const FloatEnvironment fenced;
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < accumulator.rows; ++i)
      scale_row(accumulator.f32() + i * accumulator.cols, i, accumulator.cols, s);
  }
  return accumulator;
}

Matrix add_output(Matrix y, float factor, MatrixView x) {
  const auto* values = static_cast<const float*>(x.data);
#pragma omp parallel num_threads(threads())
  {
    const FloatEnvironment fenced;
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < y.rows; ++i)
      add_row(y.f32() + i * y.cols, factor, values + (x.rows == 1 ? 0 : i * y.cols), y.cols);
  }
  return y;
}

}  // namespace nvfp4::cpu
