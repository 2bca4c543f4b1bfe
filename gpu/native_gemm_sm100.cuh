#pragma once
#include "native_gemm.cuh"

/// A GEMM by tcgen05.mma of kind mxf4nvf4: a block makes 128 x N of D in tensor memory, N 128 or 256, K in tiles of 256.
/// One thread loads, one issues, four warps store. Descriptors and layouts: PTX ISA, CUTLASS's mma_sm100_desc.hpp and
/// sm100_blockscaled_layout.hpp.
///
/// The Machine has: thread(); sync(); barriers in shared memory: barrier_init(at, arrivals), fence_barriers(),
/// expect(at, bytes), wait(at, parity); load_box(to, of_a, byte, row, barrier), a box of 128 bytes by tile rows,
/// swizzled by 128 bytes and filled with zeros, and copy(to, from, bytes, barrier), which both complete on it;
/// tensor memory: allocate(at, columns), which writes the address there, free(address, columns), copy_scales(column,
/// descriptor), mma(d, a, b, instruction, a_scales, b_scales, add), commit(barrier), load32(address, values),
/// before_sync() and after_sync(), the fences on its side of a barrier; word(at) of shared memory; store<width>(at, acc).
namespace nvfp4::gpu::sm100 {

constexpr int tile_m = 128, tile_k = 256, steps = tile_k / 64, row_bytes = tile_k / 2, warps = 6,
              threads = 32 * warps;
constexpr int loader = 4 * 32, issuer = 5 * 32;  ///< the threads; warps 0 .. 3 store

/// Byte offsets in a stage and in shared memory, and columns in tensor memory.
template <int n>
struct Plan {
  static constexpr int panels = n / 128, stages = n == 128 ? 6 : 4;
  static constexpr std::uint32_t b = tile_m * row_bytes, a_scales = b + n * row_bytes,
                                 b_scales = a_scales + steps * atom_bytes,
                                 stage = b_scales + panels * steps * atom_bytes;
  static constexpr std::uint32_t full(int slot) { return stages * stage + 8 * slot; }
  static constexpr std::uint32_t empty(int slot) { return full(stages + slot); }
  static constexpr std::uint32_t done = stages * stage + 16 * stages, address = done + 8,
                                 shared = address + 8;
  static constexpr std::uint32_t a_scale_columns = n, b_scale_columns = n + 4 * steps,
                                 columns = n == 128 ? 256 : 512;  ///< allocated: a power of two
};

/// The instruction descriptor: E2M1 is format 1 of A and of B, scales are UE4M3, both operands K-major.
NVFP4_HOST_DEVICE constexpr std::uint32_t instruction(int n) {
  return 1u << 7 | 1u << 10 | static_cast<std::uint32_t>(n >> 3) << 17 | (tile_m >> 7) << 27;
}

/// Of codes in shared memory: 8 rows of 128 bytes make a swizzled group of 1024. Layout 2 is SWIZZLE_128B.
NVFP4_HOST_DEVICE constexpr std::uint64_t codes_descriptor(std::uint32_t at) {
  return (at >> 4 & 0x3FFF) | 1ull << 16 | 64ull << 32 | 1ull << 46 | 2ull << 61;
}

/// Of a scale atom: 8 rows of 16 bytes, not swizzled, then the next 8.
NVFP4_HOST_DEVICE constexpr std::uint64_t scales_descriptor(std::uint32_t at) {
  return (at >> 4 & 0x3FFF) | 8ull << 32 | 1ull << 46;
}

/// Steps of 64 in this tile of K.
NVFP4_HOST_DEVICE constexpr int steps_of(std::int64_t k, std::int64_t k_tile) {
  const std::int64_t left = ceil_div(k, 64) - k_tile * steps;
  return left < steps ? static_cast<int>(left) : steps;
}

/// Panels of 128 columns that begin inside N. The last tile's second one may have no scales: its columns come out as
/// anything, and nobody stores them.
template <int n>
NVFP4_HOST_DEVICE constexpr int panels_of(std::int64_t cols, std::int64_t col) {
  return n == 256 && cols - col > 128 ? 2 : 1;
}

/// Bytes that a stage's barrier waits for: whole boxes, what lies outside included, and the scale atoms.
template <int n>
NVFP4_HOST_DEVICE constexpr std::uint32_t stage_bytes(int k_steps, int panels) {
  return static_cast<std::uint32_t>((tile_m + n) * row_bytes + k_steps * (1 + panels) * atom_bytes);
}

template <int n, class Machine>
NVFP4_HOST_DEVICE void load(Machine& gpu, const NativeGemm& p, TileCorner at) {
  using plan = Plan<n>;
  const int panels = panels_of<n>(p.n, at.col);
  for (std::int64_t t = 0; t < ceil_div(p.k, tile_k); ++t) {
    const int slot = static_cast<int>(t % plan::stages), k_steps = steps_of(p.k, t);
    const std::uint32_t stage = slot * plan::stage, full = plan::full(slot);
    gpu.wait(plan::empty(slot), (t / plan::stages & 1) ^ 1);  // a new barrier counts as past its phase 1
    gpu.expect(full, stage_bytes<n>(k_steps, panels));
    gpu.load_box(stage, true, t * row_bytes, at.row, full);
    gpu.load_box(stage + plan::b, false, t * row_bytes, at.col, full);
    gpu.copy(stage + plan::a_scales, p.a_scales + atom_at(at.row / 128, t * steps, p.k), k_steps * atom_bytes,
             full);
    for (int j = 0; j < panels; ++j)
      gpu.copy(stage + plan::b_scales + j * steps * atom_bytes,
               p.b_scales + atom_at(at.col / 128 + j, t * steps, p.k), k_steps * atom_bytes, full);
  }
}

/// All from one thread: tensor memory's copies and multiplications run in the order of their issue. That lets the next
/// stage's scales take the same columns.
template <int n, class Machine>
NVFP4_HOST_DEVICE void multiply(Machine& gpu, const NativeGemm& p, std::uint32_t memory) {
  using plan = Plan<n>;
  const std::uint32_t a_columns = memory + plan::a_scale_columns, b_columns = memory + plan::b_scale_columns;
  for (std::int64_t t = 0; t < ceil_div(p.k, tile_k); ++t) {
    const int slot = static_cast<int>(t % plan::stages), k_steps = steps_of(p.k, t);
    const std::uint32_t stage = gpu.address(slot * plan::stage);
    gpu.wait(plan::full(slot), t / plan::stages & 1);
    gpu.after_sync();
    for (int s = 0; s < k_steps; ++s) {
      gpu.copy_scales(a_columns + 4 * s, scales_descriptor(stage + plan::a_scales + s * atom_bytes));
      for (int j = 0; j < plan::panels; ++j)
        gpu.copy_scales(b_columns + 4 * (plan::panels * s + j),
                        scales_descriptor(stage + plan::b_scales + (j * steps + s) * atom_bytes));
    }
    for (int s = 0; s < k_steps; ++s)  // 64 elements on are 32 bytes on, inside the swizzled row
      gpu.mma(memory, codes_descriptor(stage + 32 * s), codes_descriptor(stage + plan::b + 32 * s),
              instruction(n), a_columns + 4 * s, b_columns + 4 * plan::panels * s, t > 0 || s > 0);
    gpu.commit(plan::empty(slot));
  }
  gpu.commit(plan::done);
}

/// A warp reaches the 32 lanes of tensor memory that its number mod 4 names; lane l of row l. Loads are the whole
/// warp's, so they stand outside every test of a row.
template <int n, class Machine>
NVFP4_HOST_DEVICE void store_tile(Machine& gpu, const NativeGemm& p, TileCorner at, std::uint32_t memory) {
  const int first_row = gpu.thread() / 32 * 32;
  gpu.wait(Plan<n>::done, 0);
  gpu.after_sync();
  for (int c = 0; c < n && at.col + c < p.n; c += 32) {
    float acc[32];
    gpu.load32(memory + (static_cast<std::uint32_t>(first_row) << 16) + c, acc);
    NVFP4_UNROLL
    for (int i = 0; i < 32; i += 4) store<4>(gpu, p, at.row + gpu.thread(), at.col + c + i, acc + i);
  }
}

template <int n, class Machine>
NVFP4_HOST_DEVICE void multiply_block(Machine& gpu, const NativeGemm& p, std::int64_t block) {
  using plan = Plan<n>;
  const TileCorner at = tile_of(block, p, tile_m, n);
  const int thread = gpu.thread(), warp = thread / 32;
  if (warp == issuer / 32) gpu.allocate(plan::address, plan::columns);
  if (thread == 0) {
    for (int i = 0; i < 2 * plan::stages + 1; ++i) gpu.barrier_init(plan::full(i), 1);
    gpu.fence_barriers();
  }
  gpu.before_sync();
  gpu.sync();
  gpu.after_sync();
  const std::uint32_t memory = gpu.word(plan::address);
  if (thread == loader) load<n>(gpu, p, at);
  if (thread == issuer) multiply<n>(gpu, p, memory);
  if (warp < 4) store_tile<n>(gpu, p, at, memory);
  gpu.before_sync();
  gpu.sync();
  gpu.after_sync();
  if (warp == issuer / 32) gpu.free(memory, plan::columns);
}

}  // namespace nvfp4::gpu::sm100
