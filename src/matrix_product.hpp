#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include <nvfp4/accumulation.hpp>
#include <nvfp4/tensor.hpp>

#include "isa/matrix_tiles.hpp"

namespace nvfp4::cpu {

/// Blocks of isa::panel_rows x isa::panel_rows outputs, a byte each: whether it is still to be computed.
struct OpenBlocks {
  std::int64_t rows, columns;
  std::vector<std::uint8_t> open;

  OpenBlocks(std::int64_t output_rows, std::int64_t output_columns)
      : rows((output_rows + isa::panel_rows - 1) / isa::panel_rows),
        columns((output_columns + isa::panel_rows - 1) / isa::panel_rows),
        open(static_cast<std::size_t>(rows * columns), 1) {}
  bool at(std::int64_t row, std::int64_t column) const {
    return open[static_cast<std::size_t>(row * columns + column)];
  }
  bool any() const { return std::ranges::count(open, 1) > 0; }
};

/// The blocks of tiled_product() that a matrix unit computes exactly, into `out`; the others stay open.
OpenBlocks matrix_product(const isa::MatrixTiles&, const BlockScaledTensor& a, const BlockScaledTensor& b,
                          const Accumulation&, Matrix& out);

}  // namespace nvfp4::cpu
