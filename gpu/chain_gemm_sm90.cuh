#pragma once
#include <cuda_bf16.h>

#include <cstdint>

#include "emulated_gemm.hpp"
#include "sm90.cuh"
#include "split_sum.cuh"
#include "step_class.cuh"

/// What a block of chain_gemm_sm90() does with its tiles.
namespace nvfp4::gpu::chain_gemm {

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
NVFP4_HOST_DEVICE constexpr Place place_of(std::uint32_t tile, const Grid& grid) {
  const std::uint32_t band = tile / (8 * grid.super_across), inside = tile % (8 * grid.super_across);
  const std::uint32_t below = grid.super_down - 8 * band, height = below < 8 ? below : 8;
  return {8 * band + inside % height, inside / height};
}

__device__ inline void hand_on(const Arguments& p, std::uint32_t row, std::uint32_t col) {
  if (row < p.grid.down && col < p.grid.across)
    p.work.tiles[atomicAdd(p.work.left, 1)] = row * p.grid.across + col;
}

__device__ inline Entry* entry_at(const Arguments& p, Tiles kind, std::uint32_t i) {
  return p.work.entries + (kind == Tiles::chain ? i : p.grid.super_down * p.grid.super_across - 1 - i);
}

__device__ inline StepStats stats_at(const ExpandedOperand& x, std::uint32_t tile, std::int64_t steps,
                                     std::int64_t t) {
  if (tile >= tiles_of(x.rows)) return {0, no_unit, no_top};
  const std::int64_t at = tile * steps + t;
  return {x.range[at], x.unit[at], x.top[at]};
}

__device__ inline bool is_chain(const StepStats& a, const StepStats& b) {
  return a.range * b.range < 0x1p24f;
}

// What plan_kernel() decides by. sm100_nvfp4 cuts below 2^(e_max - 35). Nothing is cut where every scale exponent is at most unit + 35 and every
// |C| < 2^(unit + 36). That is known beforehand where the bounds of all steps' sums, 2^(top + sum_bits), add up to less.
// Otherwise the kernel watches C. split_sum() bounds the exponents too.
constexpr int unseen_bits = fraction_bits + 1, split_bits = 43;

struct Stage {
  std::uint8_t a[box_bytes], b[halves][box_bytes];
};

struct Shared {
  Stage stage[stages];
  sm90::Barrier full[stages], empty[stages];
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

// One thread.
template <class Output, Tiles kind>
__device__ __forceinline__ void produce(const CUtensorMap& a, const CUtensorMap& b, const Arguments& p,
                                        Shared& shared, std::uint32_t rank) {
  Turn turn;
  for (std::uint32_t i = blockIdx.x / cluster; i < p.work.taken[static_cast<int>(kind)];
       i += gridDim.x / cluster) {
    const Place at = place_of(entry_at(p, kind, i)->tile, p.grid);
    const int row = static_cast<int>((cluster * at.row + rank) * tile_rows);
    const int b_box = static_cast<int>((halves * at.col + rank) * (tile_rows / (4 * store_width<Output>)));
    for (int t = 0; t < p.steps; ++t, turn.advance()) {
      Stage& stage = shared.stage[turn.stage];
      sm90::Barrier& full = shared.full[turn.stage];
      shared.empty[turn.stage].wait(turn.parity ^ 1);
      full.arrive_and_expect(sizeof(Stage));
      sm90::load_box(stage.a, a, {t * int{step_k}, row}, full);
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
      const SplitSum exact = split_sum(sum, t[0][i], t[1][i], t[2][i], t[3][i], origin);
      sum = __fadd_rz(exact.coarse, exact.fine);
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
  const bool aligned = p.b.rows % v == 0 && reinterpret_cast<std::uintptr_t>(p.d) % 16 == 0;
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
      if (aligned) {
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

// All steps of 64 x 256 outputs. Warpgroups take turns, so that one adds while the other multiplies; group 0 is first.
__device__ __forceinline__ void add_chain_steps(float (&c)[halves][64], std::int64_t steps, Shared& shared,
                                                Turn& turn, int group) {
  float s[64] = {};
  for (int t = 0; t < steps; ++t, turn.advance()) {
    shared.full[turn.stage].wait(turn.parity);
    const Stage& stage = shared.stage[turn.stage];
    const std::uint64_t a = sm90::descriptor(stage.a) + 512 * group, b = sm90::descriptor(stage.b[0]);
#pragma unroll
    for (int h = 0; h < halves; ++h) {
      sm90::sync<256>(1 + group);
      multiply_chain(s, a, b + 1024 * h);
      sm90::arrive<256>(2 - group);
      sm90::wgmma_wait();
      sm90::pin(s);
      if (h == halves - 1) release(shared, turn);
      add_chain(c[h], s);
    }
  }
}

// Which of 32 steps from t on are split, a bit each. By a whole warp.
__device__ inline std::uint32_t splits_from(const Arguments& p, const Entry& entry, std::uint32_t row_tile,
                                            std::uint32_t col_tile, int t) {
  if (entry.split_all) return ~0u;
  t += static_cast<int>(threadIdx.x % 32);
  return __ballot_sync(~0u, t < p.steps && !is_chain(stats_at(p.a, row_tile, p.steps, t),
                                                     stats_at(p.b, col_tile, p.steps, t)));
}

// All steps of 64 x 128 outputs. Returns the largest |c| before a split.
__device__ __forceinline__ float add_any_steps(float (&c)[64], const Arguments& p, Shared& shared, Turn& turn,
                                               int group, const Entry& entry, std::uint32_t row_tile,
                                               std::uint32_t col_tile) {
  const float origin = 1.5f * power_of_two(entry.unit + origin_bits - folded_bits);
  float most = 0;
  std::uint32_t split = 0;
  for (int t = 0; t < p.steps; ++t, turn.advance(), split >>= 1) {
    if (t % 32 == 0) split = splits_from(p, entry, row_tile, col_tile, t);
    shared.full[turn.stage].wait(turn.parity);
    const Stage& stage = shared.stage[turn.stage];
    const std::uint64_t a = sm90::descriptor(stage.a) + 512 * (group % 2),
                        b = sm90::descriptor(stage.b[group / 2]);
    if (split & 1) {
      add_split(c, a, b, origin, most);
    } else {
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        float s[32];
        multiply_chain(s, a, b + 512 * part);
        sm90::wgmma_wait();
        sm90::pin(s);
        add_chain(c + 32 * part, s);
      }
    }
    release(shared, turn);
  }
  return most;
}

// A warpgroup.
template <class Output, Tiles kind>
__device__ __forceinline__ void consume(const Arguments& p, Shared& shared, std::uint32_t rank, int group) {
  constexpr int own = 2 * halves / consumers_of(kind);  // halves of the columns
  const int lane = threadIdx.x % 32, first_half = group / 2 * own;
  if (kind == Tiles::chain && group == 1) sm90::arrive<256>(1);
  Turn turn;
  for (std::uint32_t i = blockIdx.x / cluster; i < p.work.taken[static_cast<int>(kind)];
       i += gridDim.x / cluster) {
    Entry& entry = *entry_at(p, kind, i);
    const Place at = place_of(entry.tile, p.grid);
    const std::uint32_t row_tile = cluster * at.row + rank;
    float c[own][64] = {};
    if constexpr (kind == Tiles::chain) {
      add_chain_steps(c, p.steps, shared, turn, group);
    } else {
      const float most =
          add_any_steps(c[0], p, shared, turn, group, entry, row_tile, halves * at.col + first_half);
      if (most >= power_of_two(entry.unit + unseen_bits - folded_bits) &&
          atomicExch(&entry.listed[rank], 1) == 0)
        for (int h = 0; h < halves; ++h) hand_on(p, row_tile, halves * at.col + h);
    }
    const std::int64_t row =
        std::int64_t{row_tile} * tile_rows + 64 * (group % 2) + threadIdx.x % 128 / 32 * 16 + lane / 4;
    const std::int64_t col =
        std::int64_t{at.col} * super_cols + first_half * tile_rows + lane % 4 * store_width<Output>;
#pragma unroll
    for (int h = 0; h < own; ++h) store<Output>(c[h], p, row, col + h * tile_rows);
  }
  if (kind == Tiles::chain && group == 0) sm90::sync<256>(1);  // takes the last turn, which is left over
}

}  // namespace nvfp4::gpu::chain_gemm
