#pragma once
#include <cstdint>

#include <nvfp4/tensor.hpp>

/// One stored code of a tensor, by the place of its element; columns may reach into a row's padding.
namespace nvfp4 {

inline int code_at(const BlockScaledTensor& t, std::int64_t row, std::int64_t col) {
  const std::int64_t first = row * t.row_bytes();
  if (info(t.spec.dialect->element).bits == 8) return t.codes[static_cast<std::size_t>(first + col)];
  return t.codes[static_cast<std::size_t>(first + col / 2)] >> (col % 2 * 4) & 15;
}

inline std::uint8_t scale_at(const BlockScaledTensor& t, std::int64_t row, std::int64_t col) {
  return t.scales[static_cast<std::size_t>(row * t.blocks_per_row() + col / t.spec.block.cols)];
}

}  // namespace nvfp4
