#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include <nvfp4/hadamard.hpp>
#include <nvfp4/quantize.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4 {

/// A producer profile: a dialect with the options under which its golden files were made.
struct Producer {
  std::string_view name;
  QuantizeSpec spec;
  bool columns = false;  ///< also quantizes the transpose, where rows % 16 == 0
  int rht =
      0;  ///< size of the Hadamard transform before: of the transpose where there are columns, else the rows
  Signs signs = Signs::te;         ///< of that transform
  std::uint64_t seed = 0;          ///< of those signs, where they are drawn
  int row_multiple = 1;            ///< refuses rows that are no multiple of this
  int col_multiple = 1;            ///< the same of columns
  int size_multiple = 1;           ///< the same of rows * columns
  bool refuses_nonfinite = false;  ///< refuses a tensor whose amax is not finite
};

std::span<const Producer> producers();
const Producer* find_producer(std::string_view name);

struct ProducerResult {
  BlockScaledTensor rows;
  std::optional<BlockScaledTensor> columns{};  ///< of the transpose
};

struct Kernels;

/// The sum of the transform as this dialect's producer has it: te's own kernels run BF16 on tensor cores.
HadamardSum hadamard_sum(const Dialect&, Dtype);

/// The transform that this producer, with `rht`, applies before it quantizes rows, or tokens.
Hadamard transform_of(const Producer&, Dtype, Along);

/// One operand of a product: x, or along tokens its transpose, by the producer's spec and transform. Its other rules do
/// not apply.
BlockScaledTensor quantize_operand(const Producer&, MatrixView x, Along, const Kernels&);

/// Throws std::invalid_argument where the producer refuses the input.
ProducerResult quantize(const Producer&, MatrixView, const Kernels&);

}  // namespace nvfp4
