#include <stdexcept>

#include "chain_gemm_sm90.cuh"
#include "chain_gemm_sm90.hpp"
#include "check.hpp"
#include "tensor_map.hpp"

namespace nvfp4::gpu {
namespace {

using namespace chain_gemm;

// A warp for each tile of 256 x 256, its lanes over the steps.
__global__ void __launch_bounds__(256) plan_kernel(const __grid_constant__ Arguments p) {
  const std::uint32_t tile = blockIdx.x * 8 + threadIdx.x / 32;
  if (tile >= p.grid.super_down * p.grid.super_across) return;
  const Place at = place_of(tile, p.grid);
  int unit = no_unit, top = no_top, splits = 0;
  float sum = 0;
  bool finite = true;
  for (std::int64_t t = threadIdx.x % 32; t < p.steps; t += 32) {
    StepStats a[cluster], b[halves];
    for (int i = 0; i < 2; ++i) {
      a[i] = stats_at(p.a, 2 * at.row + i, p.steps, t);
      b[i] = stats_at(p.b, 2 * at.col + i, p.steps, t);
      finite = finite && a[i].range < INFINITY && b[i].range < INFINITY;
    }
    for (int i = 0; i < 4; ++i) splits += !is_chain(a[i / 2], b[i % 2]);
    const int a_unit = min(a[0].unit, a[1].unit), b_unit = min(b[0].unit, b[1].unit);
    if (a_unit == no_unit || b_unit == no_unit) continue;
    const int step_top = max(a[0].top, a[1].top) + max(b[0].top, b[1].top);
    unit = min(unit, a_unit + b_unit);
    top = max(top, step_top);
    sum = __fadd_ru(sum, power_of_two(step_top + sum_bits));
  }
  for (int lanes = 1; lanes < 32; lanes *= 2) sum = __fadd_ru(sum, __shfl_xor_sync(~0u, sum, lanes));
  unit = __reduce_min_sync(~0u, unit);
  top = __reduce_max_sync(~0u, top);
  splits = __reduce_add_sync(~0u, splits);
  finite = __all_sync(~0u, finite);
  if (unit == no_unit) unit = 0;
  const bool split_all = !(sum < power_of_two(unit + unseen_bits));
  const bool splits_fit = top + sum_bits <= unit + split_bits, chains_fit = top <= unit + fraction_bits;
  if (threadIdx.x % 32 != 0) return;
  if (finite && (splits || split_all ? splits_fit : chains_fit)) {
    const Tiles kind = splits || split_all ? Tiles::split : Tiles::chain;
    *entry_at(p, kind, atomicAdd(p.work.taken + static_cast<int>(kind), 1)) = {tile, unit, split_all, {}};
    if (!p.counts) return;
    const unsigned long long all = 4 * p.steps, split = split_all ? all : splits;
    atomicAdd(&p.counts->split, 4 * split);  // counted in 64 x 64 outputs
    atomicAdd(&p.counts->chain, 4 * (all - split));
  } else {
    for (int i = 0; i < 4; ++i) hand_on(p, 2 * at.row + i / 2, 2 * at.col + i % 2);
  }
}

template <class Output, Tiles kind>
__global__ void __launch_bounds__(threads_of(kind), 1)
    tiles_kernel(const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b,
                 const __grid_constant__ Arguments p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  constexpr int consumers = consumers_of(kind);
  extern __shared__ __align__(1024) std::uint8_t memory[];
  auto& shared = *reinterpret_cast<Shared*>(memory);
  sm90::await_previous_kernel();
  if (p.work.taken[static_cast<int>(kind)] == 0) return;
  const std::uint32_t rank = sm90::cluster_rank();
  if (threadIdx.x == 0) {
    for (int i = 0; i < stages; ++i) {
      shared.full[i].init(1);
      shared.empty[i].init(cluster * consumers * 4);  // from each warp that reads what both blocks loaded
    }
    sm90::publish_barriers();
  }
  __syncthreads();
  sm90::cluster_sync();
  const int group = __shfl_sync(~0u, threadIdx.x / 128, 0);  // tells the compiler that a warp agrees
  if (group == consumers) {
    sm90::shrink_registers<kind == Tiles::chain ? 40 : 32>();
    if (threadIdx.x == 128 * consumers) produce<Output, kind>(a, b, p, shared, rank);
  } else {
    sm90::grow_registers<kind == Tiles::chain ? 232 : 112>();
    consume<Output, kind>(p, shared, rank, group);
  }
  __syncwarp();
  sm90::cluster_sync();  // the other block may still write here
#else
  __trap();
#endif
}

CUtensorMap map_a(const ExpandedOperand& x) {
  const cuuint64_t k = steps_of(x.k) * step_k, rows = tiles_of(x.rows) * tile_rows;
  const cuuint64_t sizes[] = {k, rows}, strides[] = {2 * k};
  const cuuint32_t box[] = {step_k, tile_rows};
  return tensor_map(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, x.values, sizes, strides, box);
}

// Dimensions k, c, q, j mod (v / 2) and j / (v / 2) of store_width.
CUtensorMap map_b(const ExpandedOperand& x, cuuint32_t v) {
  const cuuint64_t k = steps_of(x.k) * step_k, rows = tiles_of(x.rows) * tile_rows;
  const cuuint64_t sizes[] = {k, 2, 4, v / 2, rows / (4 * v)},
                   strides[] = {2 * k, 2 * k * v, 4 * k, 8 * k * v};
  const cuuint32_t box[] = {step_k, 2, 4, v / 2, static_cast<cuuint32_t>(tile_rows / (4 * v))};
  return tensor_map(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, x.values, sizes, strides, box);
}

template <class Output, Tiles kind>
void launch(const Arguments& p, Stream stream) {
  const auto kernel = tiles_kernel<Output, kind>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared)),
        "cudaFuncSetAttribute");
  int device = 0, processors = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
        "cudaDeviceGetAttribute");
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {cluster, 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = processors / cluster * cluster;
  config.blockDim = threads_of(kind);
  config.dynamicSmemBytes = sizeof(Shared);
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  check(cudaLaunchKernelEx(&config, kernel, map_a(p.a), map_b(p.b, store_width<Output>), p),
        "chain_gemm_sm90");
}

template <class Output>
void launch(const Arguments& p, Stream stream) {
  launch<Output, Tiles::chain>(p, stream);
  launch<Output, Tiles::split>(p, stream);
}

Grid grid_of(std::int64_t m, std::int64_t n) {
  const auto ratio = [](std::int64_t x, std::int64_t y) {
    return static_cast<std::uint32_t>((x + y - 1) / y);
  };
  return {ratio(m, tile_rows), ratio(n, tile_rows), ratio(m, super_rows), ratio(n, super_cols)};
}

constexpr std::int64_t head_bytes = 256;  // the counts

std::int64_t entries_bytes(const Grid& g) {
  return (std::int64_t{g.super_down} * g.super_across * static_cast<std::int64_t>(sizeof(Entry)) + 255) /
         256 * 256;
}

Workspace workspace_at(void* memory, const Grid& g) {
  auto* at = static_cast<std::uint8_t*>(memory);
  auto* counts = reinterpret_cast<std::uint32_t*>(at);
  return {counts, counts + 2, reinterpret_cast<Entry*>(at + head_bytes),
          reinterpret_cast<std::uint32_t*>(at + head_bytes + entries_bytes(g))};
}

}  // namespace

std::int64_t chain_gemm_bytes(std::int64_t m, std::int64_t n) {
  const Grid g = grid_of(m, n);
  return head_bytes + entries_bytes(g) + std::int64_t{g.down} * g.across * 4;
}

TileList chain_gemm_sm90(const EmulatedGemm& g, void* workspace, Stream stream) {
  if (g.a.rows < 1 || g.b.rows < 1 || g.a.k < 1 || g.a.k != g.b.k)
    throw std::invalid_argument("chain_gemm_sm90: sizes must be 1 or more, and both operands of one k");
  if (g.out == Dtype::fp16) throw std::invalid_argument("chain_gemm_sm90: the output must be FP32 or BF16");
  if (g.tiles) throw std::invalid_argument("chain_gemm_sm90: it makes its own list of tiles");
  const Grid grid = grid_of(g.a.rows, g.b.rows);
  const Workspace work = workspace_at(workspace, grid);
  const Arguments p{g.a, g.b, work, grid, steps_of(g.a.k), g.d, g.alpha, g.counts};
  check(cudaMemsetAsync(workspace, 0, head_bytes, stream), "cudaMemsetAsync");
  plan_kernel<<<(grid.super_down * grid.super_across + 7) / 8, 256, 0, stream>>>(p);
  check_launch("chain_gemm_sm90: plan");
  g.out == Dtype::fp32 ? launch<float>(p, stream) : launch<__nv_bfloat16>(p, stream);
  return {work.tiles, work.left};
}

}  // namespace nvfp4::gpu
