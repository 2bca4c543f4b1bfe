#pragma once
#include <cstdint>

#include <nvfp4/quantize.hpp>
#include <nvfp4/tensor.hpp>

#include "quantize.hpp"
#include "stream.hpp"

/// The hot-channel patch of scheme chon (src/schemes/chon.cpp), of one operand x: rows x channels, and q, its codes by
/// dialect te. R = x - dequantize(q), in FP32. Blocks are those of `spec`; pointers are the device's. All throw
/// std::invalid_argument for another dialect.
namespace nvfp4::gpu {

/// What was quantized, or (transposed) its transpose, and what it became.
struct QuantizedOperand {
  MatrixView x;
  bool transposed = false;
  TensorParts q{};
  QuantizeSpec spec{};
};

/// scores[j] += (1 / rows) sum over i of |R(i, j)|, in binary64, the first row first; a NaN adds nothing.
void add_residual_scores(const QuantizedOperand&, double* scores, Stream);

/// Q(R) of `count` channels, a multiple of 16, or zeros where channels[j] is -1; under `amax`, x's own, and by random bits
/// of its own where the spec is stochastic. out: rows x count.
void quantize_residual(const QuantizedOperand&, const std::int64_t* channels, std::int64_t count,
                       const float* amax, const RandomBits&, const TensorParts& out, Stream);

/// Blocks of 16 columns of E2M1 tensors of one number of rows, copied: block blocks[n] of `from` becomes block first + n of
/// `to`.
void copy_blocks(const TensorParts& from, std::int64_t from_blocks_per_row, const std::int64_t* blocks,
                 std::int64_t count, std::int64_t rows, const TensorParts& to, std::int64_t to_blocks_per_row,
                 std::int64_t first, Stream);

}  // namespace nvfp4::gpu
