#pragma once
#include <bit>

#include "native_gemm_sm100.cuh"
#include "probe_mma.cuh"

/// tcgen05.mma of kind mxf4nvf4 on one tile of at most 128 x 128, K in steps of 64. The Machine has what that of
/// native_gemm_sm100.cuh has, but none of its bulk copies, and beside it: write(at, word) to shared memory and
/// fence_writes() for tcgen05 to see it; set(address, word) of tensor memory and wait_sets().
namespace nvfp4::gpu::probe_sm100 {

constexpr int side = 128;
constexpr std::uint32_t b_at = side * 128, a_scales_at = 2 * b_at, b_scales_at = a_scales_at + atom_bytes,
                        barrier = b_scales_at + atom_bytes, address = barrier + 8, shared = address + 8;

/// Row (or column) `thread` of 64 elements, where the 128-byte swizzle has it, and its scales.
template <class Machine, class Codes, class Scales>
NVFP4_HOST_DEVICE void write_row(Machine& gpu, std::uint32_t at, std::uint32_t scales_at, Codes code,
                                 Scales scale) {
  const int row = gpu.thread();
  for (int word = 0; word < 8; ++word) {
    std::uint32_t codes = 0, byte = 4 * word;
    for (int i = 0; i < 8; ++i) codes |= (code(8 * word + i) & 15) << 4 * i;
    gpu.write(at + 128 * row + (byte ^ (row % 8) << 4), codes);
  }
  std::uint32_t scales = 0;
  for (int j = 0; j < 4; ++j) scales |= scale(j) << 8 * j;
  gpu.write(scales_at + 16 * (row % 32) + 4 * (row / 32), scales);
}

template <class Machine>
NVFP4_HOST_DEVICE void multiply(Machine& gpu, const ProbeTiles& x, std::int64_t tile, std::uint32_t memory) {
  const std::uint32_t a_columns = memory + side, b_columns = a_columns + 4;
  const int thread = gpu.thread();
  for (int step = 0; 64 * step < x.k; ++step) {
    write_row(
        gpu, 0, a_scales_at, [&](int k) { return x.a_code(tile, thread, 64 * step + k); },
        [&](int j) { return x.a_scale(tile, thread, 4 * step + j); });
    write_row(
        gpu, b_at, b_scales_at, [&](int k) { return x.b_code(tile, thread, 64 * step + k); },
        [&](int j) { return x.b_scale(tile, thread, 4 * step + j); });
    gpu.fence_writes();
    gpu.before_sync();
    gpu.sync();
    gpu.after_sync();
    if (thread == 0) {
      gpu.copy_scales(a_columns, sm100::scales_descriptor(gpu.address(a_scales_at)));
      gpu.copy_scales(b_columns, sm100::scales_descriptor(gpu.address(b_scales_at)));
      gpu.mma(memory, sm100::codes_descriptor(gpu.address(0)), sm100::codes_descriptor(gpu.address(b_at)),
              sm100::instruction(side), a_columns, b_columns, true);
      gpu.commit(barrier);
    }
    gpu.wait(barrier, step & 1);
    gpu.after_sync();
  }
}

/// A thread has its row of C and D.
template <class Machine>
NVFP4_HOST_DEVICE void multiply_tile(Machine& gpu, const ProbeTiles& x, std::int64_t tile) {
  const int thread = gpu.thread();
  if (thread < 32) gpu.allocate(address, 256);
  if (thread == 0) {
    gpu.barrier_init(barrier, 1);
    gpu.fence_barriers();
  }
  gpu.before_sync();
  gpu.sync();
  gpu.after_sync();
  const std::uint32_t memory = gpu.word(address),
                      mine = memory + (static_cast<std::uint32_t>(thread / 32 * 32) << 16);
  for (int col = 0; col < side; ++col)
    gpu.set(mine + col, x.inside(thread, col) ? x.c[x.at(tile, thread, col)] : 0);
  gpu.wait_sets();
  multiply(gpu, x, tile, memory);
  for (int first = 0; first < side; first += 32) {
    float acc[32];
    gpu.load32(mine + first, acc);
    for (int i = 0; i < 32; ++i)
      if (x.inside(thread, first + i))
        x.d[x.at(tile, thread, first + i)] = std::bit_cast<std::uint32_t>(acc[i]);
  }
  gpu.before_sync();
  gpu.sync();
  gpu.after_sync();
  if (thread < 32) gpu.free(memory, 256);
}

}  // namespace nvfp4::gpu::probe_sm100
