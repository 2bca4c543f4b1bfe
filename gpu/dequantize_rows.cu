#include "dequantize_rows.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "check.hpp"
#include "fast_dialects.hpp"
#include "number.cuh"
#include "scale_place.cuh"

namespace nvfp4::gpu {
namespace {

constexpr int threads = 256;

struct Task {
  TensorParts parts;
  std::int64_t rows, cols;
  std::uint32_t blocks, tiles;  ///< as in Output
  bool per_row;
  Setting setting;
  float* out;

  __device__ std::uint32_t scale(std::uint32_t row, std::uint32_t block) const {
    return parts.scales[tiles ? tiled_scale(row, block, tiles) : std::uint64_t{row} * blocks + block];
  }
};

/// A warp's threads lie along a row, `across` groups of four columns of it to a block of threads.
template <class D>
__global__ void __launch_bounds__(threads) dequantize_kernel(const __grid_constant__ Task t, int across) {
  const std::int64_t row = std::int64_t{blockIdx.x} * (threads / across) + threadIdx.x / across;
  const std::int64_t col = 4 * (std::int64_t{blockIdx.y} * across + threadIdx.x % across);
  if (row >= t.rows || col >= t.cols) return;
  const auto r = static_cast<std::uint32_t>(row), block = static_cast<std::uint32_t>(col / 16);
  const std::uint32_t codes =
      *reinterpret_cast<const std::uint16_t*>(t.parts.codes + row * t.blocks * 8 + col / 2);
  const Number scale = signed_e4m3_value(t.scale(r, block)), global(t.parts.global[t.per_row ? row : 0]);
  float values[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const Number value = D::dequantize(Number::e2m1_value(Code(codes >> (4 * j))), scale, global, t.setting);
    values[j] = is_nan(value) ? default_nan().value : value.value;
  }
  float* to = t.out + row * t.cols + col;
  if (t.cols % 4 == 0)
    __stcs(reinterpret_cast<float4*>(to), make_float4(values[0], values[1], values[2], values[3]));
  else
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (col + j < t.cols) to[j] = values[j];
}

template <class D>
void launch(const Task& t, Stream stream) {
  const std::int64_t fours = (t.cols + 3) / 4;
  const int across = fours >= 256 ? 256 : 32;
  const dim3 grid(static_cast<unsigned>((t.rows + threads / across - 1) / (threads / across)),
                  static_cast<unsigned>((fours + across - 1) / across));
  dequantize_kernel<D><<<grid, threads, 0, stream>>>(t, across);
  check_launch("dequantize_kernel");
}

constexpr auto launches =
    FastDialects::table([]<class D>(D) -> void (*)(const Task&, Stream) { return launch<D>; });

}  // namespace

void dequantize_rows(const TensorParts& parts, ScaleLayout layout, std::int64_t rows, std::int64_t cols,
                     const QuantizeSpec& spec, Dtype made_from, float* out, Stream stream) {
  validate(spec);
  const auto found = std::ranges::find(FastDialects::infos, spec.dialect);
  if (found == FastDialects::infos.end())
    throw std::invalid_argument("no fast dequantizer for " + std::string(spec.dialect->name));
  const auto blocks = static_cast<std::uint32_t>((cols + 15) / 16);
  const Task t{.parts = parts,
               .rows = rows,
               .cols = cols,
               .blocks = blocks,
               .tiles = scale_tiles(layout, blocks),
               .per_row = spec.tensor_scale == TensorScale::row,
               .setting = setting(spec, made_from),
               .out = out};
  launches[static_cast<std::size_t>(found - FastDialects::infos.begin())](t, stream);
}

}  // namespace nvfp4::gpu
