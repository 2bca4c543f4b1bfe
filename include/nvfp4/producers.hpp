#pragma once
#include <optional>
#include <span>
#include <string_view>

#include <nvfp4/quantize.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4 {

/// A producer profile: a dialect with the options under which its golden files were made.
struct Producer {
  std::string_view name;
  QuantizeSpec spec;
  bool columns;     ///< also quantizes the transpose, where rows % 16 == 0
  int multiple_of;  ///< refuses rows or columns that are no multiple of this
};

std::span<const Producer> producers();
const Producer* find_producer(std::string_view name);

struct ProducerResult {
  BlockScaledTensor rows;
  std::optional<BlockScaledTensor> columns;  ///< of the transpose
};

struct Kernels;
/// Throws std::invalid_argument where the producer refuses the shape.
ProducerResult quantize(const Producer&, MatrixView, const Kernels&);

}  // namespace nvfp4
