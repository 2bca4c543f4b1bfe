#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nvfp4/io.hpp>
#include <nvfp4/mma.hpp>

#include "golden_file.hpp"

namespace nvfp4::cli {

/// What a file holds of an instruction model's operands and results; codes, one an element.
struct MmaFile {
  std::int64_t tiles = 1, rows = 1, cols = 1, k = 0;
  Format a_format = Format::e2m1, b_format = Format::e2m1;
  std::optional<Format> scale;
  int block = 0;
  std::vector<std::uint64_t> a, b, c;
  std::vector<std::uint8_t> a_scales, b_scales;
  std::optional<std::vector<std::uint64_t>> d, d_steps;
  std::vector<std::int64_t> shape;  ///< of C, and of D

  MmaOperands operands() const {
    return {tiles, rows, cols, k, a_format, b_format, scale, block, a, b, c, a_scales, b_scales};
  }
};

/// Arrays A, B, [SFA, SFB], C, [D, D_steps]: tiles x M x K and tiles x N x K, or M x K and N x K, or one dot
/// product a row (C of one dimension). With a prefix they are PREFIX.a and so on; FP16 accumulators take
/// C_f16 and D_f16, others D_f32, where the file has them. Throws io::FileError and UsageError.
MmaFile read_mma(const io::ArrayFile&, const std::string& prefix, const Accumulation&, Format a, Format b);

/// Width of an accumulator's codes in bits, and of an element's as a file holds them.
int code_bits(const Accumulation&);
int element_bits(Format, const Accumulation&);

/// Codes of 8, 16, 32 or 64 bits as such a file has them.
GoldenArray code_array(std::string name, std::span<const std::uint64_t> codes, int bits,
                       std::vector<std::int64_t> shape);

}  // namespace nvfp4::cli
