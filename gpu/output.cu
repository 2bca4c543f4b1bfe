#include "output.cuh"

#include "check.hpp"

namespace nvfp4::gpu {

Output output(std::int64_t rows, std::int64_t cols, Dtype dtype, const QuantizeSpec& spec,
              const float* amaxes, const TensorParts& parts, ScaleLayout layout, Stream stream) {
  validate(spec);
  const auto blocks = static_cast<std::uint32_t>((cols + 15) / 16);
  const std::uint32_t tiles = scale_tiles(layout, blocks);
  const ScaleExtent extent = padded(layout, rows, blocks);
  if (parts.codes && extent != ScaleExtent{rows, blocks})
    check(cudaMemsetAsync(parts.scales, 0, static_cast<std::size_t>(extent.rows * extent.cols), stream),
          "memset of padded scales");
  return {.parts = parts,
          .rows = rows,
          .cols = cols,
          .blocks = blocks,
          .tiles = tiles,
          .per_row = spec.tensor_scale == TensorScale::row,
          .amaxes = amaxes,
          .setting = setting(spec, dtype),
          .draws = draws(spec.stochastic.value_or(Stochastic{}), cols)};
}

}  // namespace nvfp4::gpu
