#pragma once
#include <nvfp4/dialects/quartet2.hpp>

#include "eden.hpp"
#include "formats.cuh"
#include "quantize_block.cuh"

namespace nvfp4::gpu {

/// The blocks that share a correction.
struct CorrectScales {
  Elements y;
  std::int64_t blocks_per_row;
  int group;  ///< blocks, up to 16
  RandomBits random;
  StochasticEncoder encoder;
  const float* global;
  std::uint8_t* scales;

  using Dialect = dialects::quartet2_eden;
  using Products = Dialect::Products<Number>;

  /// Zeros beyond the row.
  NVFP4_HOST_DEVICE Products products(std::int64_t row, std::int64_t block) const {
    if (block >= blocks_per_row) return {Number(0), Number(0)};
    const Number scale = signed_e4m3_value(scales[row * blocks_per_row + block]);
    return Dialect::products(Block{y, row, 16 * block, 1, 16}, Dialect::block_encode(scale, Number(*global)));
  }

  /// Blocks meet in halves.
  NVFP4_HOST_DEVICE Number correction(std::int64_t row, std::int64_t first) const {
    constexpr int most = 16;
    float yy[most], yq[most];
    for (int b = 0; b < group; ++b) {
      const Products p = products(row, first + b);
      yy[b] = p.yy.value, yq[b] = p.yq.value;
    }
    for (int half = group / 2; half > 0; half /= 2)
      for (int b = 0; b < half; ++b) {
        yy[b] = (Number(yy[b]) + Number(yy[b + half])).value;
        yq[b] = (Number(yq[b]) + Number(yq[b + half])).value;
      }
    return Dialect::correction(Products{Number(yy[0]), Number(yq[0])});
  }

  NVFP4_HOST_DEVICE void operator()(std::int64_t n) const {
    const std::int64_t groups = (blocks_per_row + group - 1) / group, row = n / groups,
                       first = n % groups * group;
    const Number s = correction(row, first);
    for (std::int64_t b = first; b < std::min(first + group, blocks_per_row); ++b) {
      std::uint8_t& scale = scales[row * blocks_per_row + b];
      const Number wanted = signed_e4m3_value(scale) * s;
      scale = static_cast<std::uint8_t>(encoded(wanted.value, draw(random, row, b)[0], encoder));
    }
  }
};

/// Of how many groups, and what each does.
inline std::int64_t correction_groups(MatrixView y, const Eden& eden) {
  return y.rows * ((y.cols + eden.group - 1) / eden.group);
}
inline CorrectScales correct_scales_task(MatrixView y, const Eden& eden, const float* global,
                                         std::uint8_t* scales) {
  validate(eden);
  const StochasticEncoder e = encoder(StochasticEncoding{.format = Format::e4m3, .bits = 32});
  return {elements(y, false), (y.cols + 15) / 16, eden.group / 16, eden.random, e, global, scales};
}

}  // namespace nvfp4::gpu
