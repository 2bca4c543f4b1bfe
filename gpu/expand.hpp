#pragma once
#include <cstdint>

#include "stream.hpp"

namespace nvfp4::gpu {

/// An NVFP4 operand of a product over k, in device memory, as BlockScaledTensor keeps it.
struct CodedOperand {
  const std::uint8_t*
      codes;  ///< rows x 8 ceil(k / 16) bytes; the even column in the low nibble; pad codes count as 0; 8-aligned
  const std::uint8_t* scales;  ///< rows x ceil(k / 16) UE4M3; bit 7 is ignored, 0x7F is NaN
  std::int64_t rows, k;
};

/// The same with its block scales folded in, and what tells where sums over it are exact. A tile-step is 128 rows of
/// 64 columns; tile-steps stand row-major, [rows_padded / 128][k_padded / 64].
struct ExpandedOperand {
  const std::uint16_t* values;  ///< BF16 of element * scale * 2^-14, exact; NaN for a NaN scale.
                                ///< [rows_padded][k_padded]: rows padded to 128, k to 64, by +0
  const float*
      range;  ///< the largest over the tile's rows of (2-norm of the row's 64 values / lowest set bit of
              ///< any of them), rounded up; 0 where all are zero, +Inf where a scale is NaN
  const std::int16_t* unit;  ///< exponent of the lowest set bit of any element * scale (without the 2^-14);
                             ///< INT16_MAX where all are zero. NaN blocks do not count
  const std::int16_t*
      top;  ///< the largest exponent of a block scale, as tensorcore.md 3 counts it (max(E, 1) - 7), of
            ///< any block that has a nonzero value; INT16_MIN where all are zero
  std::int64_t rows, k;        ///< unpadded
  const std::uint8_t* scales;  ///< the operand's own
};

constexpr std::int64_t tile_rows = 128, step_k = 64;

constexpr std::int64_t tiles_of(std::int64_t rows) { return (rows + tile_rows - 1) / tile_rows; }
constexpr std::int64_t steps_of(std::int64_t k) { return (k + step_k - 1) / step_k; }

/// Bytes of the workspace of expand(); it must be 256-aligned.
std::int64_t expand_bytes(std::int64_t rows, std::int64_t k);

/// Fills the workspace and describes it. Throws std::invalid_argument for sizes below 1.
ExpandedOperand expand(const CodedOperand&, void* workspace, Stream);

}  // namespace nvfp4::gpu
