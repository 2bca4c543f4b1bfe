#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <nvfp4/diagnose.hpp>
#include <nvfp4/layout.hpp>
#include <nvfp4/tensor.hpp>

/// For the tests of somebody's kernel: the bytes that it left in memory against the expected ones, and what to
/// say where they differ.
namespace nvfp4::testing {

/// Copies `size` bytes to `host` from where a kernel wrote them; for device memory, a cudaMemcpy.
using CopyToHost = std::function<void(void* host, const void* from, std::size_t size)>;
void copy_from_host(void* host, const void* from, std::size_t size);

/// What padding bytes of the scales may hold.
enum class Padding : std::uint8_t { zero, anything };

/// A kernel's results as they lie in memory, on the host or where `copy` reads. An empty span is not compared.
struct Result {
  std::span<const std::uint8_t> codes{};   ///< low nibble first, rows padded to whole blocks
  std::span<const std::uint8_t> scales{};  ///< in `layout`, padding included; 16x16: one on each of its rows
  std::span<const float> global{};
  ScaleLayout layout = ScaleLayout::linear;
  Padding padding = Padding::zero;
  CopyToHost copy = copy_from_host;
};

struct Report {
  std::int64_t differing_bytes = 0, differing_values = 0;
  /// Empty where equal; else counts, first index, block and lane, both bytes, both values, a suspected cause, and
  /// with `input` how far the right rounding was from a tie and the `nvfp4 explain` line to run. Where a size differs, only that: the counts stay 0.
  std::string message{};
  std::vector<Diagnosis> diagnosis{};
  bool equal() const { return message.empty(); }
};

/// Byte by byte; the one rule beside ==, that of `nvfp4 golden check`: a NaN equals a NaN, whatever its sign and
/// payload. `input` is the matrix that was quantized; throws std::invalid_argument for another shape.
Report compare(const Result& actual, const BlockScaledTensor& expected, MatrixView input = {});
Report compare(const BlockScaledTensor& actual, const BlockScaledTensor& expected, MatrixView input = {});

/// The `nvfp4 explain` line that walks through element (row, col) of `input` as `spec` quantizes it. A column
/// beyond the last, a pad code's, stands for the last.
std::string explain_command(MatrixView input, const QuantizeSpec& spec, std::int64_t row, std::int64_t col);

}  // namespace nvfp4::testing
