#pragma once
#include "gathered.cuh"
#include "tetrajet.hpp"

namespace nvfp4::gpu {

using TetrajetDialects = DialectList<dialects::tetrajet_v2, dialects::tetrajet_v2_unbiased>;

/// Blocks that share a scale.
inline constexpr int blocks_of_double = 8;

/// Bits of the largest magnitude of a block, which has none beyond the edges.
template <class D>
NVFP4_HOST_DEVICE std::uint32_t amax_bits(const QuantizeTask& t, std::int64_t row, std::int64_t b) {
  return bits_of(amax_of(Block<>{t.x, row, 16 * b, 1, 16}, D::info.nan_in_tensor_amax).value);
}

/// Block b of a row; `largest` has the bits of the largest magnitude of the eight that share a scale.
template <class D>
NVFP4_HOST_DEVICE void quantize_in_double_block(const QuantizeTask& t, std::int64_t row, std::int64_t b,
                                                std::uint32_t largest) {
  if (row >= t.x.rows || b >= t.blocks_per_row) return;
  const auto tensor = D::tensor(Number(float_of(largest)), t.setting);
  const Block<> block{t.x, row, 16 * b, 1, 16};
  put_block<D>(t, block, b, block_scale<D>(block, tensor), tensor);
  if (b % blocks_of_double == 0)
    t.out.global[row * t.scales_per_row + b / blocks_of_double] = settled(tensor.global);
}

}  // namespace nvfp4::gpu
