#include <cuda_bf16.h>

#include <algorithm>
#include <array>
#include <gpu/chain_gemm_sm90.hpp>
#include <gpu/check.hpp>
#include <gpu/sm90.cuh>
#include <gpu/step_class.cuh>
#include <stdexcept>
#include <string>

namespace nvfp4::gpu {
namespace {

// A cluster of two blocks computes 256 x 256 outputs, a block 128 x 256. Each block loads its own rows of A, and half of
// the rows of B for both.
constexpr int cluster = 2, stages = 4;
constexpr int super_rows = cluster * tile_rows, super_cols = 256, halves = super_cols / tile_rows;
constexpr int box_bytes = tile_rows * step_k * 2;
static_assert(halves == cluster, "each block loads one half of B");

// Tiles of nothing but chains: two warpgroups of 64 x 256 outputs each, which leaves the registers of 64 x 128 for a step's
// sums. Tiles with splits, which are bound by additions: four of 64 x 128 outputs.
enum class Tiles : std::uint8_t { chain, split };
constexpr int consumers_of(Tiles kind) { return kind == Tiles::chain ? 2 : 4; }
constexpr int threads_of(Tiles kind) { return 128 * (consumers_of(kind) + 1); }

/// A tile of 256 x 256 that this kernel takes. All its groups and sums are multiples of 2^unit.
struct Entry {
  std::uint32_t tile;
  std::int32_t unit;
  std::uint32_t split_all;        // all its steps are split, and the largest sum is watched
  std::uint32_t listed[cluster];  // whether a block's part was handed on
};

struct Workspace {
  std::uint32_t *taken, *left;  // taken[Tiles], and how many are left
  Entry* entries;               // of chain tiles from the front, of split tiles from the back
  std::uint32_t* tiles;         // left
};

struct Grid {
  std::uint32_t down, across;  // tiles of 128 x 128
  std::uint32_t super_down, super_across;
};

struct Arguments {
  ExpandedOperand a, b;
  Workspace work;
  Grid grid;
  std::int64_t steps;
  void* d;
  const float* alpha;
  StepCounts* counts;
};

struct Place {
  std::uint32_t row, col;
};

// Bands of 8 tiles' height, down each column of a band before the next: clusters that run together share strips in L2.
__device__ Place place_of(std::uint32_t tile, const Grid& grid) {
  const std::uint32_t band = tile / (8 * grid.super_across), inside = tile % (8 * grid.super_across);
  const std::uint32_t height = min(grid.super_down - 8 * band, 8u);
  return {8 * band + inside % height, inside / height};
}

__device__ void hand_on(const Arguments& p, std::uint32_t row, std::uint32_t col) {
  if (row < p.grid.down && col < p.grid.across)
    p.work.tiles[atomicAdd(p.work.left, 1)] = row * p.grid.across + col;
}

__device__ Entry* entry_at(const Arguments& p, Tiles kind, std::uint32_t i) {
  return p.work.entries + (kind == Tiles::chain ? i : p.grid.super_down * p.grid.super_across - 1 - i);
}

__device__ StepStats stats_at(const ExpandedOperand& x, std::uint32_t tile, std::int64_t steps,
                              std::int64_t t) {
  if (tile >= tiles_of(x.rows)) return {0, no_unit, no_top};
  const std::int64_t at = tile * steps + t;
  return {x.range[at], x.unit[at], x.top[at]};
}

__device__ bool is_chain(const StepStats& a, const StepStats& b) { return a.range * b.range < 0x1p24f; }

// sm100_nvfp4 cuts below 2^(e_max - 35). Nothing is cut where every scale exponent is at most unit + 35 and every
// |C| < 2^(unit + 36). That is known beforehand where the bounds of all steps' sums, 2^(top + sum_bits), add up to less.
// Otherwise the kernel watches C. split_sum() bounds the exponents too.
constexpr int unseen_bits = fraction_bits + 1, split_bits = 43;

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

struct Stage {
  std::uint8_t a[box_bytes], b[halves][box_bytes];
};

struct Shared {
  Stage stage[stages];
  sm90::Barrier full[stages], empty[stages];
  std::uint32_t split[stages];  // bit h: half h of the columns is split in this step
};

/// Which stage, and the parity of its barriers' phase.
struct Turn {
  int stage = 0;
  std::uint32_t parity = 0;
  __device__ void advance() {
    if (++stage < stages) return;
    stage = 0;
    parity ^= 1;
  }
};

// The columns of one 16-byte store. Rows of B reach shared memory in such an order that a thread's outputs are
// contiguous: row 8 j + 2 q + c of a box, which the MMA makes outputs c of thread q of a quad, is column
// 4 v (j / (v / 2)) + v q + 2 (j mod (v / 2)) + c of the half, v = store_width.
template <class Output>
constexpr int store_width = 16 / sizeof(Output);

// One warp.
template <class Output, Tiles kind>
__device__ __forceinline__ void produce(const CUtensorMap& a, const CUtensorMap& b, const Arguments& p,
                                        Shared& shared, std::uint32_t rank) {
  const int lane = threadIdx.x % 32;
  Turn turn;
  for (std::uint32_t i = blockIdx.x / cluster; i < p.work.taken[static_cast<int>(kind)];
       i += gridDim.x / cluster) {
    const Entry& entry = *entry_at(p, kind, i);
    const Place at = place_of(entry.tile, p.grid);
    const std::uint32_t row = cluster * at.row + rank, col = halves * at.col;
    unsigned split[halves] = {};
    for (int t = 0; t < p.steps; ++t, turn.advance()) {
      if (kind == Tiles::split && t % 32 == 0)
        for (int h = 0; h < halves; ++h)
          split[h] = __ballot_sync(
              ~0u, t + lane < p.steps &&
                       (entry.split_all || !is_chain(stats_at(p.a, row, p.steps, t + lane),
                                                     stats_at(p.b, col + h, p.steps, t + lane))));
      if (lane != 0) continue;
      Stage& stage = shared.stage[turn.stage];
      sm90::Barrier& full = shared.full[turn.stage];
      shared.empty[turn.stage].wait(turn.parity ^ 1);
      shared.split[turn.stage] = (split[0] >> t % 32 & 1) | (split[1] >> t % 32 & 1) << 1;
      full.arrive_and_expect(sizeof(Stage));
      sm90::load_box(stage.a, a, {t * int{step_k}, static_cast<int>(row * tile_rows)}, full);
      const int b_box = static_cast<int>((col + rank) * (tile_rows / (4 * store_width<Output>)));
      sm90::load_box(stage.b[rank], b, {t * int{step_k}, 0, 0, 0, b_box}, full, (1 << cluster) - 1);
    }
  }
}

// s = the exact sum of a chain of four groups: each of its partial sums fits 24 bits.
template <int n>
__device__ __forceinline__ void multiply_chain(float (&s)[n], std::uint64_t a, std::uint64_t b) {
  sm90::wgmma_fence();
#pragma unroll
  for (int k = 0; k < groups_of_step; ++k) sm90::wgmma(s, a + 2 * k, b + 2 * k, k > 0);
  sm90::wgmma_commit();
}

template <int n>
__device__ __forceinline__ void add_chain(float* c, const float (&s)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) c[i] = __fadd_rz(c[i], s[i]);
}

// The sum of c and four exact groups, truncated once. All are multiples of u = 2^unit, |c| < 2^36 u, and the groups' sum is
// below 2^43 u. origin = 1.5 * 2^45 u lies amid a binade whose grid is 2^22 u: `coarse` collects multiples of that, exactly,
// and `fine` the rests, at most 2^21 u each, five of them below 2^24 u.
constexpr int origin_bits = 45;

__device__ __forceinline__ float split_sum(float c, float t0, float t1, float t2, float t3, float origin) {
  float coarse = __fadd_rn(origin, c);
  float fine = __fsub_rn(c, __fsub_rn(coarse, origin));
  for (const float t : {t0, t1, t2, t3}) {
    const float next = __fadd_rn(coarse, t);
    fine = __fadd_rn(fine, __fsub_rn(t, __fsub_rn(next, coarse)));
    coarse = next;
  }
  return __fadd_rz(__fsub_rn(coarse, origin), fine);
}

// `most` grows to the largest |c| before the step.
__device__ __forceinline__ void add_split(float (&c)[64], std::uint64_t a, std::uint64_t b, float origin,
                                          float& most) {
#pragma unroll
  for (int part = 0; part < 8; ++part) {
    float t[groups_of_step][8];
    sm90::wgmma_fence();
#pragma unroll
    for (int k = 0; k < groups_of_step; ++k) sm90::wgmma(t[k], a + 2 * k, b + 128 * part + 2 * k);
    sm90::wgmma_commit();
    sm90::wgmma_wait();
#pragma unroll
    for (int k = 0; k < groups_of_step; ++k) sm90::pin(t[k]);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      float& sum = c[8 * part + i];
      most = fmaxf(most, fabsf(sum));
      sum = split_sum(sum, t[0][i], t[1][i], t[2][i], t[3][i], origin);
    }
  }
}

__device__ inline float converted(float x, float) { return x; }
__device__ inline __nv_bfloat16 converted(float x, __nv_bfloat16) { return __float2bfloat16_rn(x); }

// Of the outputs of a half, from row and col on, which are this thread's first.
template <class Output>
__device__ __forceinline__ void store(const float (&c)[64], const Arguments& p, std::int64_t row,
                                      std::int64_t col) {
  constexpr int v = store_width<Output>;
  const float alpha = p.alpha ? *p.alpha : 1;
#pragma unroll
  for (int r = 0; r < 2; ++r, row += 8) {
    if (row >= p.a.rows) continue;
#pragma unroll
    for (int j = 0; j < 32 / v; ++j) {
      const std::int64_t left = p.b.rows - (col + 4 * v * j);
      Output* const to = static_cast<Output*>(p.d) + row * p.b.rows + col + 4 * v * j;
      alignas(16) Output values[v];
#pragma unroll
      for (int i = 0; i < v; ++i) {
        const float x = c[2 * v * j + 4 * (i / 2) + 2 * r + i % 2] * power_of_two(folded_bits);
        values[i] = converted(__fmul_rn(x, alpha), Output{});
      }
      if (p.b.rows % v == 0) {
        if (left > 0) *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(values);
      } else {
#pragma unroll
        for (int i = 0; i < v; ++i)
          if (i < left) to[i] = values[i];
      }
    }
  }
}

__device__ inline void release(Shared& shared, const Turn& turn) {
  const int lane = threadIdx.x % 32;
  if (lane < cluster) shared.empty[turn.stage].arrive_at(lane);
}

// All steps of 64 x 256 outputs.
__device__ __forceinline__ void add_steps(float (&c)[2][64], std::int64_t steps, Shared& shared, Turn& turn,
                                          int group, float, float&) {
  float s[64] = {};
  for (int t = 0; t < steps; ++t, turn.advance()) {
    shared.full[turn.stage].wait(turn.parity);
    const Stage& stage = shared.stage[turn.stage];
    const std::uint64_t a = sm90::descriptor(stage.a) + 512 * group, b = sm90::descriptor(stage.b[0]);
#pragma unroll
    for (int h = 0; h < halves; ++h) {
      // Warpgroups take turns, so that one adds while the other multiplies.
      asm volatile("bar.sync %0, 256;" ::"r"(1 + group) : "memory");
      multiply_chain(s, a, b + 1024 * h);
      asm volatile("bar.arrive %0, 256;" ::"r"(2 - group) : "memory");
      sm90::wgmma_wait();
      sm90::pin(s);
      if (h == halves - 1) release(shared, turn);
      add_chain(c[h], s);
    }
  }
}

// All steps of 64 x 128 outputs; `most` becomes the largest |c| before a split.
__device__ __forceinline__ void add_steps(float (&c)[1][64], std::int64_t steps, Shared& shared, Turn& turn,
                                          int group, float origin, float& most) {
  for (int t = 0; t < steps; ++t, turn.advance()) {
    shared.full[turn.stage].wait(turn.parity);
    const Stage& stage = shared.stage[turn.stage];
    const int h = group / 2;
    const std::uint64_t a = sm90::descriptor(stage.a) + 512 * (group % 2), b = sm90::descriptor(stage.b[h]);
    if (shared.split[turn.stage] >> h & 1) {
      add_split(c[0], a, b, origin, most);
    } else {
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        float s[32];
        multiply_chain(s, a, b + 512 * part);
        sm90::wgmma_wait();
        sm90::pin(s);
        add_chain(c[0] + 32 * part, s);
      }
    }
    release(shared, turn);
  }
}

// A warpgroup.
template <class Output, Tiles kind>
__device__ __forceinline__ void consume(const Arguments& p, Shared& shared, std::uint32_t rank, int group) {
  constexpr int own = 2 * halves / consumers_of(kind);  // halves of the columns
  const int lane = threadIdx.x % 32, first_half = group / 2 * own;
  if (kind == Tiles::chain && group == 1)
    asm volatile("bar.arrive 1, 256;" ::: "memory");  // group 0 comes first
  Turn turn;
  for (std::uint32_t i = blockIdx.x / cluster; i < p.work.taken[static_cast<int>(kind)];
       i += gridDim.x / cluster) {
    Entry& entry = *entry_at(p, kind, i);
    float c[own][64] = {}, most = 0;
    add_steps(c, p.steps, shared, turn, group, 1.5f * power_of_two(entry.unit + origin_bits - folded_bits),
              most);
    const Place at = place_of(entry.tile, p.grid);
    const std::uint32_t row_tile = cluster * at.row + rank;
    const std::int64_t row =
        std::int64_t{row_tile} * tile_rows + 64 * (group % 2) + threadIdx.x % 128 / 32 * 16 + lane / 4;
    const std::int64_t col =
        std::int64_t{at.col} * super_cols + first_half * tile_rows + lane % 4 * store_width<Output>;
#pragma unroll
    for (int h = 0; h < own; ++h) store<Output>(c[h], p, row, col + h * tile_rows);
    if (most >= power_of_two(entry.unit + unseen_bits - folded_bits) &&
        atomicExch(&entry.listed[rank], 1) == 0)
      for (int h = 0; h < halves; ++h) hand_on(p, row_tile, halves * at.col + h);
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
  const int group = threadIdx.x / 128;
  if (group == consumers) {
    sm90::shrink_registers<kind == Tiles::chain ? 40 : 32>();
    if (threadIdx.x / 32 == 4 * consumers) produce<Output, kind>(a, b, p, shared, rank);
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

using Encode = decltype(&cuTensorMapEncodeTiled);

Encode encode_tiled() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  check(
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
      "cudaGetDriverEntryPointByVersion");
  if (found != cudaDriverEntryPointSuccess)
    throw std::runtime_error("CUDA: the driver has no cuTensorMapEncodeTiled");
  return reinterpret_cast<Encode>(function);
}

// Strides are in bytes, of all dimensions but the first.
template <std::size_t rank>
CUtensorMap tensor_map(const ExpandedOperand& x, std::array<cuuint64_t, rank> size,
                       std::array<cuuint64_t, rank - 1> stride, std::array<cuuint32_t, rank> box) {
  static const Encode encode = encode_tiled();
  std::array<cuuint32_t, rank> ones;
  ones.fill(1);
  CUtensorMap map;
  const CUresult result = encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, rank,
                                 const_cast<std::uint16_t*>(x.values), size.data(), stride.data(), box.data(),
                                 ones.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    throw std::runtime_error("CUDA: cuTensorMapEncodeTiled: error " + std::to_string(result));
  return map;
}

CUtensorMap map_a(const ExpandedOperand& x) {
  const cuuint64_t k = steps_of(x.k) * step_k, rows = tiles_of(x.rows) * tile_rows;
  return tensor_map<2>(x, {k, rows}, {2 * k}, {step_k, tile_rows});
}

// Dimensions k, c, q, j mod (v / 2) and j / (v / 2) of store_width.
CUtensorMap map_b(const ExpandedOperand& x, cuuint32_t v) {
  const cuuint64_t k = steps_of(x.k) * step_k, rows = tiles_of(x.rows) * tile_rows;
  return tensor_map<5>(x, {k, 2, 4, v / 2, rows / (4 * v)}, {2 * k, 2 * k * v, 4 * k, 8 * k * v},
                       {step_k, 2, 4, v / 2, static_cast<cuuint32_t>(tile_rows / (4 * v))});
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
