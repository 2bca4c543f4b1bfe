#pragma once
#include <cmath>
#include <cstdint>
#include <optional>
#include <stdexcept>

#include <nvfp4/dialects/all.hpp>

namespace nvfp4 {

/// Rows and columns that share a block scale.
struct BlockShape {
  int rows = 1, cols = 16;
  friend bool operator==(const BlockShape&, const BlockShape&) = default;
};

/// What shares a second-level scale.
enum class TensorScale : std::uint8_t { tensor, row };

/// With the input, all that fixes the bits of a quantized tensor.
struct QuantizeSpec {
  const Dialect* dialect = &dialects::te::info;
  BlockShape block{};
  TensorScale tensor_scale = TensorScale::tensor;
  std::optional<float> amax{};  ///< replaces the input's own tensor amax
};

/// Throws std::invalid_argument, saying what is wrong, for a spec by which no layer can quantize.
inline void validate(const QuantizeSpec& spec) {
  if (!spec.dialect) throw std::invalid_argument("no dialect");
  if (spec.block != BlockShape{1, 16} && spec.block != BlockShape{16, 16})
    throw std::invalid_argument("block shape must be 1x16 or 16x16");
  const bool per_row = spec.tensor_scale == TensorScale::row;
  if (per_row && spec.block.rows != 1)
    throw std::invalid_argument("row scales need 1x16 blocks: a 16x16 block spans rows");
  if (per_row && spec.amax)
    throw std::invalid_argument("one tensor amax cannot replace a scale for each row");
  if (spec.amax && !(*spec.amax >= 0))
    throw std::invalid_argument("tensor amax must be 0 or more, and not NaN");
}

}  // namespace nvfp4
