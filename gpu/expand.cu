#include <stdexcept>

#include "check.hpp"
#include "expand.cuh"
#include "expand.hpp"

namespace nvfp4::gpu {
namespace {

constexpr int block_steps = 2, block_groups = block_steps * groups_of_step;
constexpr int warps = 8, rows_at_once = warps * 32 / block_groups, passes = tile_rows / rows_at_once;

struct Writable {
  std::uint16_t* values;
  float* range;
  std::int16_t *unit, *top;
};

/// Over the four lanes of a row's step, by a butterfly.
__device__ StepStats row_stats(StepStats x) {
  for (int lanes = 1; lanes < groups_of_step; lanes *= 2) {
    x.range = __fadd_ru(x.range, __shfl_xor_sync(~0u, x.range, lanes));
    x.unit = min(x.unit, __shfl_xor_sync(~0u, x.unit, lanes));
    x.top = max(x.top, __shfl_xor_sync(~0u, x.top, lanes));
  }
  // The squares' sum may be infinite for a NaN scale; a power of two divides exactly.
  x.range = x.unit == no_unit ? x.range : __fmul_ru(__fsqrt_ru(x.range), power_of_two(-x.unit));
  return x;
}

__device__ StepStats largest(StepStats x, const StepStats& y) {
  return {fmaxf(x.range, y.range), min(x.unit, y.unit), max(x.top, y.top)};
}

/// A block of threads takes 128 rows of two steps, a thread a block of 16 values in every 32nd row.
__global__ void __launch_bounds__(warps * 32, 6) expand_kernel(CodedOperand x, Writable out) {
  const std::int64_t blocks = (x.k + group_k - 1) / group_k, steps = steps_of(x.k);
  const std::int64_t pairs = (steps + block_steps - 1) / block_steps;
  const std::int64_t tile = blockIdx.x / pairs, first_step = blockIdx.x % pairs * block_steps;
  const int group = threadIdx.x % block_groups, row = threadIdx.x / block_groups;
  const std::int64_t block = first_step * groups_of_step + group;

  std::uint64_t codes[passes] = {};
  unsigned scales[passes] = {};
#pragma unroll
  for (int p = 0; p < passes; ++p) {
    const std::int64_t i = tile * tile_rows + p * rows_at_once + row;
    if (i >= x.rows || block >= blocks) continue;
    codes[p] = reinterpret_cast<const std::uint64_t*>(x.codes)[i * blocks + block] & codes_mask(x.k, block);
    scales[p] = x.scales[i * blocks + block];
  }

  StepStats stats{0, no_unit, no_top};
#pragma unroll
  for (int p = 0; p < passes; ++p) {
    const Folded folded = fold(codes[p], scales[p]);
    stats = largest(stats, row_stats(block_stats(codes[p], scales[p])));
    if (first_step + group / groups_of_step >= steps) continue;
    const std::int64_t i = tile * tile_rows + p * rows_at_once + row;
    auto* to = reinterpret_cast<uint4*>(out.values + i * steps * step_k + block * group_k);
    to[0] = make_uint4(folded.pairs[0], folded.pairs[1], folded.pairs[2], folded.pairs[3]);
    to[1] = make_uint4(folded.pairs[4], folded.pairs[5], folded.pairs[6], folded.pairs[7]);
  }

  for (int lanes = block_groups; lanes < 32; lanes *= 2)
    stats = largest(stats, {__shfl_xor_sync(~0u, stats.range, lanes), __shfl_xor_sync(~0u, stats.unit, lanes),
                            __shfl_xor_sync(~0u, stats.top, lanes)});
  __shared__ StepStats of_warp[warps][block_steps];
  if (threadIdx.x % 32 % groups_of_step == 0 && threadIdx.x % 32 < block_groups)
    of_warp[threadIdx.x / 32][group / groups_of_step] = stats;
  __syncthreads();
  if (threadIdx.x >= block_steps || first_step + threadIdx.x >= steps) return;
  for (int w = 1; w < warps; ++w)
    of_warp[0][threadIdx.x] = largest(of_warp[0][threadIdx.x], of_warp[w][threadIdx.x]);
  const StepStats s = of_warp[0][threadIdx.x];
  const std::int64_t at = tile * steps + first_step + threadIdx.x;
  out.range[at] = s.range;
  out.unit[at] = static_cast<std::int16_t>(s.unit);
  out.top[at] = static_cast<std::int16_t>(s.top);
}

constexpr std::int64_t aligned(std::int64_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace

std::int64_t expand_bytes(std::int64_t rows, std::int64_t k) {
  const std::int64_t tile_steps = tiles_of(rows) * steps_of(k);
  return tile_steps * tile_rows * step_k * 2 + aligned(tile_steps * 4) + 2 * aligned(tile_steps * 2);
}

ExpandedOperand expand(const CodedOperand& x, void* workspace, Stream stream) {
  if (x.rows < 1 || x.k < 1)
    throw std::invalid_argument("expand: an operand must have 1 row and column or more");
  const std::int64_t tile_steps = tiles_of(x.rows) * steps_of(x.k);
  auto* at = static_cast<std::uint8_t*>(workspace);
  Writable out;
  out.values = reinterpret_cast<std::uint16_t*>(at);
  out.range = reinterpret_cast<float*>(at += tile_steps * tile_rows * step_k * 2);
  out.unit = reinterpret_cast<std::int16_t*>(at += aligned(tile_steps * 4));
  out.top = reinterpret_cast<std::int16_t*>(at += aligned(tile_steps * 2));
  const std::int64_t blocks = tiles_of(x.rows) * ((steps_of(x.k) + block_steps - 1) / block_steps);
  expand_kernel<<<static_cast<unsigned>(blocks), warps * 32, 0, stream>>>(x, out);
  check_launch("expand");
  return {out.values, out.range, out.unit, out.top, x.rows, x.k, x.scales};
}

}  // namespace nvfp4::gpu
