#pragma once
#include <cstdint>
#include <optional>

#include <nvfp4/accumulation.hpp>
#include <nvfp4/mma.hpp>
#include <nvfp4/tensor.hpp>

#include "stream.hpp"

/// Matrix products by every Accumulation, literally: a thread an output. Matrices lie in device memory.
namespace nvfp4::gpu {

/// An operand, k along its rows.
struct CodeMatrix {
  const void* codes = nullptr;
  int code_bits = 4;                            ///< 4 (two a byte, the even k in the low nibble), 8, 32 or 64
  std::int64_t row_bytes = 0;                   ///< from a row of codes to the next
  std::optional<Format> format = Format::e2m1;  ///< none: FP32, and FP64 under Summation::fp64_fma
  const std::uint8_t* scales = nullptr;         ///< rows x ceil(k / block); null: none
};

/// Of a tensor whose codes and scales lie at these addresses.
CodeMatrix code_matrix(const BlockScaledTensor&, const void* codes, const std::uint8_t* scales);

/// tiles times a * transpose(b) + c, of tiles x rows x k and tiles x cols x k.
struct MatrixProduct {
  CodeMatrix a, b;
  std::int64_t tiles = 1, rows = 1, cols = 1, k = 0;
  std::optional<Format> scale{};     ///< of both operands
  int block = 1;                     ///< elements that share one
  const std::uint64_t* c = nullptr;  ///< tiles x rows x cols codes of the accumulator; null: +0
};

/// out: tiles x rows x cols in FP32. Throws std::invalid_argument where the accumulation does not take such operands.
void multiply(const MatrixProduct&, const Accumulation&, float* out, Stream);

/// out: codes of the accumulator, tiles x rows x cols; with every_step those after each instruction, tiles x
/// kept_steps() x rows x cols.
void mma(const MatrixProduct&, const Accumulation&, bool every_step, std::uint64_t* out, Stream);

/// Instructions of a chain; `exact` is one.
std::int64_t chain_length(const Accumulation&, std::int64_t k);

/// The elements of a dense operand as 32-bit codes: of `format`, or without one FP32 as it is. *strangers, zero before,
/// becomes 1 where a value is no number of that format.
void dense_codes(MatrixView x, std::optional<Format> format, std::uint32_t* codes, std::uint32_t* strangers,
                 Stream);

}  // namespace nvfp4::gpu
