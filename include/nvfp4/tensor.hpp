#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <nvfp4/quantize.hpp>

namespace nvfp4 {

/// The element type of a high-precision matrix. BF16 and FP16 are widened exactly before any arithmetic.
enum class Dtype : std::uint8_t { fp32, bf16, fp16 };
constexpr std::size_t size_of(Dtype t) { return t == Dtype::fp32 ? 4 : 2; }
constexpr std::string_view name(Dtype t) {
  return t == Dtype::fp32 ? "fp32" : t == Dtype::bf16 ? "bf16" : "fp16";
}

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
  QuantizeSpec spec;                ///< what made it; its `amax`, if any, is in `global` too
  std::int64_t rows = 0, cols = 0;  ///< unpadded
  std::vector<std::uint8_t> codes;  ///< rows x row_bytes(); even column in the low nibble; pad codes are 0
  std::vector<std::uint8_t>
      scales;                 ///< rows x blocks_per_row(); linear; a 16x16 scale stands on each of its rows
  std::vector<float> global;  ///< 1 or `rows` values, as the dialect keeps them; empty for single-level

  std::int64_t blocks_per_row() const { return (cols + spec.block.cols - 1) / spec.block.cols; }
  std::int64_t row_bytes() const { return blocks_per_row() * spec.block.cols / 2; }
};

}  // namespace nvfp4
