#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <nvfp4/quantize.hpp>

namespace nvfp4 {

/// Row-major, contiguous, native-endian; does not own its data.
struct MatrixView {
  const void* data = nullptr;
  std::int64_t rows = 0, cols = 0;
  Dtype dtype = Dtype::fp32;
};

struct Matrix {
  std::vector<std::byte> bytes;
  std::int64_t rows = 0, cols = 0;
  Dtype dtype = Dtype::fp32;

  Matrix() = default;
  Matrix(std::int64_t rows, std::int64_t cols, Dtype dtype = Dtype::fp32)
      : bytes(static_cast<std::size_t>(rows * cols) * size_of(dtype)), rows(rows), cols(cols), dtype(dtype) {}
  MatrixView view() const { return {bytes.data(), rows, cols, dtype}; }
  float* f32() { return reinterpret_cast<float*>(bytes.data()); }
  const float* f32() const { return reinterpret_cast<const float*>(bytes.data()); }
  std::uint16_t* u16() { return reinterpret_cast<std::uint16_t*>(bytes.data()); }
  const std::uint16_t* u16() const { return reinterpret_cast<const std::uint16_t*>(bytes.data()); }
};

Matrix transpose(MatrixView);

/// value(i, j) = element(i, j) * block_scale(i, j) * tensor scale: README's value equation, with the
/// order of FP32 operations that `spec.dialect` names.
struct BlockScaledTensor {
  QuantizeSpec spec;                  ///< what made it; its `amax`, if any, has become `global`
  Dtype dtype = Dtype::fp32;          ///< of the input that it was made from
  std::int64_t rows = 0, cols = 0;    ///< unpadded
  std::vector<std::uint8_t> codes{};  ///< rows x row_bytes(); even column in the low nibble; pad codes are 0
  std::vector<std::uint8_t>
      scales{};  ///< rows x blocks_per_row(); linear; a 16x16 scale stands on each of its rows
  std::vector<float>
      global{};  ///< 1 or rows x globals_per_row(), as the dialect keeps them; empty for single-level

  std::int64_t blocks_per_row() const { return (cols + spec.block.cols - 1) / spec.block.cols; }
  std::int64_t row_bytes() const {
    return blocks_per_row() * spec.block.cols * info(spec.dialect->element).bits / 8;
  }
  /// Of tensors with scales for each row.
  std::int64_t globals_per_row() const {
    const std::int64_t outer = spec.dialect->outer_cols;
    return outer ? (cols + outer - 1) / outer : 1;
  }
  /// The second-level scale of element (i, j); 1 where there is none.
  float global_at(std::int64_t i, std::int64_t j) const {
    const std::int64_t outer = spec.dialect->outer_cols;
    const std::int64_t at = i * globals_per_row() + (outer ? j / outer : 0);
    return global.empty() ? 1 : global[global.size() == 1 ? 0 : static_cast<std::size_t>(at)];
  }
};

}  // namespace nvfp4
