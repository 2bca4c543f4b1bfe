#include "output.cuh"

#include <stdexcept>
#include <string>

#include "check.hpp"

namespace nvfp4::gpu {

Output output(std::int64_t rows, std::int64_t cols, Dtype dtype, const QuantizeSpec& spec,
              const float* amaxes, const TensorParts& parts, ScaleLayout layout, Stream stream) {
  validate(spec);
  if (layout != ScaleLayout::linear && layout != ScaleLayout::tiled_128x4)
    throw std::invalid_argument("scale layout " + std::string(name(layout)) + ": expected linear or 128x4");
  const std::int64_t blocks = (cols + 15) / 16;
  const ScaleExtent extent = padded(layout, rows, blocks);
  if (extent != ScaleExtent{rows, blocks})
    check(cudaMemsetAsync(parts.scales, 0, static_cast<std::size_t>(extent.rows * extent.cols), stream),
          "memset of padded scales");
  return {.parts = parts,
          .rows = rows,
          .cols = cols,
          .blocks = static_cast<std::uint32_t>(blocks),
          .tiles = layout == ScaleLayout::linear ? 0 : static_cast<std::uint32_t>((blocks + 3) / 4),
          .per_row = spec.tensor_scale == TensorScale::row,
          .amaxes = amaxes,
          .setting = setting(spec, dtype),
          .draws = draws(spec.stochastic.value_or(Stochastic{}), cols)};
}

}  // namespace nvfp4::gpu
