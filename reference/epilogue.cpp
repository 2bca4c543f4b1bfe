#include "epilogue.hpp"

#include "number.hpp"

namespace nvfp4::reference {
namespace {

float with_gpu_nan(Number y) { return is_nan(y) ? std::bit_cast<float>(0x7FFFFFFFu) : y.value; }

}  // namespace

Matrix scale_output(Matrix accumulator, const OutputScaling& s) {
  const std::int64_t cols = accumulator.cols;
  for (std::int64_t i = 0; i < accumulator.rows * cols; ++i) {
    Number y = Number(accumulator.f32()[i]) * Number(s.alpha);
    if (!s.rows.empty()) y = y * Number(s.rows[static_cast<std::size_t>(i / cols)]);
    if (!s.cols.empty()) y = y * Number(s.cols[static_cast<std::size_t>(i % cols)]);
    accumulator.f32()[i] = with_gpu_nan(y);
  }
  return accumulator;
}

Matrix add_output(Matrix y, float factor, MatrixView x) {
  const auto* values = static_cast<const float*>(x.data);
  for (std::int64_t i = 0; i < y.rows * y.cols; ++i) {
    const Number term = Number(factor) * Number(values[x.rows == 1 ? i % y.cols : i]);
    y.f32()[i] = with_gpu_nan(Number(y.f32()[i]) + term);
  }
  return y;
}

}  // namespace nvfp4::reference
