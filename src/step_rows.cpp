#include "step_rows.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "aligned.hpp"

namespace nvfp4::cpu {

using isa::group_size, isa::step_groups, isa::step_k;

RowWindow::RowWindow(const BlockScaledTensor& t, std::int64_t row, std::int64_t first_step) {
  const std::int64_t first = first_step * step_k, count = std::min(part_steps * step_k, t.cols - first);
  const bool stands = row < t.rows && count == part_steps * step_k && t.spec.block.cols == group_size;
  codes = stands ? t.codes.data() + row * t.row_bytes() + first / 2 : own_codes_;
  scales = stands ? t.scales.data() + row * t.blocks_per_row() + first / group_size : own_scales_;
  if (!stands) copy(t, row, first, row < t.rows ? count : 0);
}

void RowWindow::copy(const BlockScaledTensor& t, std::int64_t row, std::int64_t first, std::int64_t count) {
  std::ranges::fill(own_codes_, std::uint8_t{0});
  std::ranges::fill(own_scales_, std::uint8_t{0});
  if (count == 0) return;
  std::copy_n(t.codes.data() + row * t.row_bytes() + first / 2, (count + 1) / 2, own_codes_);
  if (count % 2) own_codes_[count / 2] &= 15;
  const std::uint8_t* blocks = t.scales.data() + row * t.blocks_per_row();
  for (std::int64_t k = 0; k < count; k += group_size)
    own_scales_[k / group_size] = blocks[(first + k) / t.spec.block.cols];
}

ScaleCodes::ScaleCodes(Format format) {
  for (unsigned code = 0; code < fields.size(); ++code) {
    const Unpacked s = unpack_code(code, info(format));
    if (s.kind & ProductRows::is_nan) {
      fields[code] = {0, isa::nan_exponent};
      continue;
    }
    fields[code] = {static_cast<std::int16_t>(s.significand), static_cast<std::int16_t>(s.exponent)};
    values[code] = std::ldexp(static_cast<float>(s.significand), s.exponent - info(format).mantissa_bits);
  }
}

void RowExtent::add_square(double of_a_row) {
  constexpr double rounded = 1 + 0x1p-20;  // more than the roundings of the sum take away
  if (of_a_row > 0) square = std::max(square, std::ilogb(of_a_row * rounded) + 1);
}

void RowExtent::extend(const RowExtent& x) {
  least = std::min(least, x.least);
  largest = std::max(largest, x.largest);
  square = std::max(square, x.square);
}

bool loses_nothing(const RowExtent& a, const RowExtent& b, int kept) {
  const int least = a.least + b.least;
  return a.largest + b.largest <= least + kept && a.square + b.square <= 2 * (least + kept + 1);
}

void put_nans(Matrix& out, const std::vector<std::uint8_t>& rows, const std::vector<std::uint8_t>& columns) {
  if (!std::ranges::count(rows, 1) && !std::ranges::count(columns, 1)) return;
  for (std::int64_t i = 0; i < out.rows; ++i)
    for (std::int64_t j = 0; j < out.cols; ++j)
      if (rows[static_cast<std::size_t>(i)] | columns[static_cast<std::size_t>(j)])
        out.f32()[i * out.cols + j] = std::bit_cast<float>(0x7FFFFFFF);
}

}  // namespace nvfp4::cpu
