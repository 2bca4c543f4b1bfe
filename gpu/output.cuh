#pragma once
#include "philox.cuh"
#include "quantize.hpp"
#include "scale_place.cuh"
#include "sixteen.cuh"

namespace nvfp4::gpu {

struct QuantizedBlock {
  uint2 codes;
  std::uint32_t scale;
};

/// Where the blocks of a rows x cols tensor go, and by what they are quantized.
struct Output {
  TensorParts parts;
  std::int64_t rows, cols;
  std::uint32_t blocks;  ///< a row
  std::uint32_t tiles;   ///< across, of scales in the 128x4 layout; 0: they are linear
  bool per_row;          ///< an amax for each row
  const float* amaxes;
  Setting setting;
  Draws draws;

  template <class D>
  __device__ auto tensor(std::int64_t row) const {
    return D::tensor(Number(amaxes[per_row ? row : 0]), setting);
  }

  /// The last block of a row: codes of columns that are not there are 0.
  __device__ uint2 without_padding(uint2 codes) const {
    const auto left = static_cast<unsigned>(cols % 16);
    if (left == 0) return codes;
    return left < 8 ? make_uint2(codes.x & ((1u << 4 * left) - 1), 0)
                    : make_uint2(codes.x, codes.y & ((1u << 4 * (left - 8)) - 1));
  }

  __device__ void put(std::uint32_t row, std::uint32_t block, const QuantizedBlock& quantized) const {
    const std::uint64_t at = std::uint64_t{row} * blocks + block;
    reinterpret_cast<uint2*>(parts.codes)[at] =
        block == blocks - 1 ? without_padding(quantized.codes) : quantized.codes;
    parts.scales[tiles ? tiled_scale(row, block, tiles) : at] = static_cast<std::uint8_t>(quantized.scale);
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
__device__ QuantizedBlock quantize_block(const Sixteen<T>& x, const Largest& largest, const Tensor& tensor,
                                         const Encodes<D>& encodes, std::uint32_t row, std::uint32_t block,
                                         const Output& out) {
  const BlockScale<Number> scale = block_scale<D>(x, Number(largest.amax), tensor);
  const Number encode = encodes.encode(scale);
  if constexpr (stochastic)
    return {stochastic_codes<D>(x, largest.bound, encode, tensor, out.draws.rule,
                                random_words(out.draws, row, block)),
            scale.code.bits};
  else
    return {nearest_codes<D>(x, largest.bound, encode, tensor), scale.code.bits};
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
