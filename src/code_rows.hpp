#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include <nvfp4/accumulation.hpp>
#include <nvfp4/mma.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4::cpu {

/// An operand as codes, one row at a time, however it is stored.
struct CodeRows {
  std::int64_t rows = 0, k = 0;     ///< k as stored; readers pad with zeros
  std::optional<Format> element{};  ///< none: FP32 bits
  std::optional<Format> scale{};
  int block = 1;  ///< columns that share a scale
  /// Fills k codes and ceil(k / block) scales. Called by several threads at once.
  std::function<void(std::int64_t row, std::span<std::uint32_t> codes, std::span<std::uint8_t> scales)> read;

  std::int64_t blocks() const { return scale ? (k + block - 1) / block : 0; }
};

CodeRows code_rows(const BlockScaledTensor&);
/// Throws std::invalid_argument where a value is no number of the format.
CodeRows code_rows(MatrixView, std::optional<Format>, const Accumulation&);
CodeRows code_rows(const MmaOperands&, bool second);

/// A row, padded to `k` with zero codes and zero scales.
struct CodeRow {
  std::vector<std::uint32_t> codes;
  std::vector<std::uint8_t> scales;
  int block;

  CodeRow(const CodeRows& x, std::int64_t padded_k)
      : codes(static_cast<std::size_t>(padded_k)),
        scales(static_cast<std::size_t>(padded_k / x.block + 1)),
        block(x.block) {}
  void read(const CodeRows& x, std::int64_t row) {
    x.read(row, {codes.data(), static_cast<std::size_t>(x.k)},
           {scales.data(), static_cast<std::size_t>(x.blocks())});
  }
  std::uint8_t scale_at(std::int64_t k) const { return scales[static_cast<std::size_t>(k / block)]; }
};

}  // namespace nvfp4::cpu
