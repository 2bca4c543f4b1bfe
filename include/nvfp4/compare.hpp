#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include <nvfp4/tensor.hpp>

namespace nvfp4 {

/// The first byte at which two results part.
struct Mismatch {
  std::string array;  ///< "packed", "scales", "global", "dequant", ...
  std::int64_t row = 0, col = 0;
  std::uint32_t expected = 0, actual = 0;  ///< bytes, or FP32 bits
};

struct Difference {
  std::int64_t bytes = 0;  ///< how many bytes differ, all arrays together
  std::optional<Mismatch> first;
  bool equal() const { return bytes == 0; }
};

/// Bit for bit, all three arrays and the shape; no tolerance of any kind.
Difference compare(const BlockScaledTensor& expected, const BlockScaledTensor& actual);

/// Bit for bit; `array` names it in the mismatch.
Difference compare(MatrixView expected, MatrixView actual, std::string array);

/// One line: where, both bytes, both values, in words that lead to `nvfp4 explain`.
std::string describe(const Mismatch&);

}  // namespace nvfp4
