#include "epilogue.hpp"

#include "number.hpp"

namespace nvfp4::reference {

Matrix scale_output(Matrix accumulator, const OutputScaling& s) {
  const std::int64_t cols = accumulator.cols;
  for (std::int64_t i = 0; i < accumulator.rows * cols; ++i) {
    Number y = Number(accumulator.f32()[i]) * Number(s.alpha);
    if (!s.rows.empty()) y = y * Number(s.rows[static_cast<std::size_t>(i / cols)]);
    if (!s.cols.empty()) y = y * Number(s.cols[static_cast<std::size_t>(i % cols)]);
    accumulator.f32()[i] = is_nan(y) ? std::bit_cast<float>(0x7FFFFFFFu) : y.value;
  }
  return accumulator;
}

}  // namespace nvfp4::reference
