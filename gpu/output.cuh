#pragma once
#include <nvfp4/layout.hpp>

#include "philox.cuh"
#include "quantize.hpp"
#include "sixteen.cuh"

namespace nvfp4::gpu {

/// Where the blocks of a rows x cols tensor go, and by what they are quantized.
struct Output {
  TensorParts parts;
  std::int64_t rows, cols;
  std::int64_t blocks;  ///< a row
  bool tiled;           ///< scales in the 128x4 layout, else linear
  bool per_row;         ///< an amax for each row
  const float* amaxes;
  Setting setting;
  Draws draws;

  __device__ std::int64_t scale_at(std::int64_t row, std::int64_t block) const {
    if (!tiled) return row * blocks + block;
    const std::int64_t tile = row / 128 * ((blocks + 3) / 4) + block / 4;
    return tile * 512 + row % 32 * 16 + row % 128 / 32 * 4 + block % 4;
  }

  template <class D>
  __device__ auto tensor(std::int64_t row) const {
    return D::tensor(Number(amaxes[per_row ? row : 0]), setting);
  }

  /// `codes` of the columns beyond the last are made 0.
  __device__ void put(std::int64_t row, std::int64_t block, uint2 codes, std::uint32_t scale) const {
    const std::int64_t left = cols - 16 * block;
    if (left < 16) {
      if (left <= 8) codes.y = 0;
      std::uint32_t& last = left <= 8 ? codes.x : codes.y;
      if (left % 8) last &= (1u << (left % 8 * 4)) - 1;
    }
    reinterpret_cast<uint2*>(parts.codes)[row * blocks + block] = codes;
    parts.scales[scale_at(row, block)] = static_cast<std::uint8_t>(scale);
  }
};

/// The largest of lanes that differ in these bits; NaN, whose bits are the largest, poisons.
template <int... bits>
__device__ float largest_of_lanes(float a) {
  std::uint32_t largest = bits_of(a);
  ((largest = max(largest, __shfl_xor_sync(~0u, largest, bits))), ...);
  return float_of(largest);
}

/// A block, or one row of a 16x16 block whose amax `largest` has.
template <class D, Dtype T, bool stochastic, class Tensor>
__device__ void quantize_block(const Sixteen<T>& x, const Largest& largest, const Tensor& tensor,
                               std::int64_t row, std::int64_t block, const Output& out) {
  const BlockScale<Number> scale = block_scale<D>(x, Number(largest.amax), tensor);
  uint2 codes;
  if constexpr (stochastic)
    codes = stochastic_codes<D>(x, largest, scale.encode, tensor, out.draws.rule,
                                random_words(out.draws, row, block));
  else
    codes = nearest_codes<D>(x, largest, scale.encode, tensor);
  out.put(row, block, codes, scale.code.bits);
}

/// By one thread, before or after all else.
template <class D>
__device__ void put_global(const Output& out, std::int64_t row) {
  const Number kept = out.tensor<D>(row).global;
  out.parts.global[row] = is_nan(kept) ? default_nan().value : kept.value;
}

/// Of a tensor of so many rows and columns. Checks the spec, and clears scales that have padding.
Output output(std::int64_t rows, std::int64_t cols, Dtype, const QuantizeSpec&, const float* amaxes,
              const TensorParts&, ScaleLayout, Stream);

}  // namespace nvfp4::gpu
