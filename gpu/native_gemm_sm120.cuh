#pragma once
#include "native_gemm.cuh"

/// A GEMM by mma.sync.m16n8k64 of kind mxf4nvf4: a block of 8 warps makes 128 x 128 of D, K in tiles of 128 that pass
/// through a ring of stages in shared memory. Fragments: PTX ISA, and CUTLASS's MMA_Traits of SM120_16x8x64_TN_VS.
///
/// The Machine has: thread(); copy16(to, from, bytes) and copy4, which fill up with zeros; commit(); wait<groups>();
/// sync(); ldmatrix(at, regs); load16(at, words); mma(acc, a, b, scale of a, scale of b); store<width>(at, acc).
namespace nvfp4::gpu::sm120 {

constexpr int tile = 128, tile_k = 128, steps = tile_k / 64, stages = 4, warps = 8, threads = 32 * warps;
constexpr std::uint32_t operand_bytes = tile * tile_k / 2, scale_bytes = atom_bytes * steps;
constexpr std::uint32_t b_at = operand_bytes, a_scales_at = 2 * operand_bytes,
                        b_scales_at = a_scales_at + scale_bytes;
constexpr std::uint32_t stage_bytes = b_scales_at + scale_bytes, shared_bytes = stages * stage_bytes;

/// Where chunk c (16 bytes) of a row lies: TMA's SWIZZLE_64B, so that the 8 rows of an ldmatrix meet no bank twice.
NVFP4_HOST_DEVICE constexpr std::uint32_t chunk_at(int row, int chunk) {
  return static_cast<std::uint32_t>(row * (tile_k / 2) + ((chunk ^ ((row >> 1) & 3)) << 4));
}

/// The warps are 2 x 4. A warp's four m16 tiles lie 32 rows apart, its four n8 tiles 32 columns apart: 16 bytes of a
/// scale atom hold the scales of rows r, r + 32, r + 64 and r + 96, so that a lane loads those of all four at once.
NVFP4_HOST_DEVICE constexpr int a_row(int warp, int i) { return 32 * i + 16 * (warp / 4); }
NVFP4_HOST_DEVICE constexpr int b_row(int warp, int j) { return 32 * j + 8 * (warp % 4); }

/// An ldmatrix.x4 gives a0 .. a3 of one m16 tile, or b0, b1 of two n8 tiles, j and j + 1.
NVFP4_HOST_DEVICE constexpr std::uint32_t a_chunk(int warp, int lane, int i, int step) {
  return chunk_at(a_row(warp, i) + lane % 16, 2 * step + lane / 16);
}
NVFP4_HOST_DEVICE constexpr std::uint32_t b_chunk(int warp, int lane, int j, int step) {
  return chunk_at(b_row(warp, j + lane / 16) + lane % 8, 2 * step + lane / 8 % 2);
}

/// Selectors {0, 0}: row g's scales are read from lane 4 g, row g + 8's from lane 4 g + 1, column g's from lane 4 g.
NVFP4_HOST_DEVICE constexpr std::uint32_t a_scale_words(int warp, int lane, int step) {
  return static_cast<std::uint32_t>(atom_bytes * step + 16 * (a_row(warp, 0) + lane / 4 + 8 * (lane % 2)));
}
NVFP4_HOST_DEVICE constexpr std::uint32_t b_scale_words(int warp, int lane, int step) {
  return static_cast<std::uint32_t>(atom_bytes * step + 16 * (b_row(warp, 0) + lane / 4));
}

/// Of the four scales of a step with `left` elements of K before the end, those inside. Zero codes alone would not do:
/// a padding scale may be NaN.
NVFP4_HOST_DEVICE constexpr std::uint32_t scale_mask(std::int64_t left) {
  return left >= 64 ? ~0u : left <= 0 ? 0u : (1u << (left / 16 * 8)) - 1;
}

template <class Machine>
NVFP4_HOST_DEVICE void load_codes(Machine& gpu, std::uint32_t to, const std::uint8_t* codes, std::int64_t row,
                                  std::int64_t rows, std::int64_t k, std::int64_t k_tile) {
  constexpr int chunks = tile_k / 32;
  for (int i = gpu.thread(); i < tile * chunks; i += threads) {
    const std::int64_t r = row + i / chunks, byte = k_tile * (tile_k / 2) + i % chunks * 16;
    const int bytes = r < rows && byte < k / 2 ? 16 : 0;
    gpu.copy16(to + chunk_at(i / chunks, i % chunks), bytes ? codes + r * (k / 2) + byte : codes, bytes);
  }
}

template <class Machine>
NVFP4_HOST_DEVICE void load_tiled_scales(Machine& gpu, std::uint32_t to, const std::uint8_t* scales,
                                         std::int64_t row, std::int64_t k, std::int64_t k_tile) {
  for (int i = gpu.thread(); i < 32 * steps; i += threads) {
    const std::int64_t step = k_tile * steps + i / 32;
    const int bytes = step < ceil_div(k, 64) ? 16 : 0;
    gpu.copy16(to + 16 * i, bytes ? scales + atom_at(row / 128, step, k) + i % 32 * 16 : scales, bytes);
  }
}

/// Brings each 4 scales of a row to where the tiled layout has them.
template <class Machine>
NVFP4_HOST_DEVICE void load_linear_scales(Machine& gpu, std::uint32_t to, const std::uint8_t* scales,
                                          std::int64_t row, std::int64_t rows, std::int64_t k,
                                          std::int64_t k_tile) {
  for (int i = gpu.thread(); i < tile * steps; i += threads) {
    const int r = i / steps, s = i % steps;
    const std::int64_t step = k_tile * steps + s;
    const int bytes = row + r < rows && step < k / 64 ? 4 : 0;
    gpu.copy4(to + atom_bytes * s + r % 32 * 16 + r / 32 * 4,
              bytes ? scales + (row + r) * (k / 16) + step * 4 : scales, bytes);
  }
}

template <ScaleLayout layout, class Machine>
NVFP4_HOST_DEVICE void load_stage(Machine& gpu, const NativeGemm& p, TileCorner at, std::int64_t k_tile) {
  const auto stage = static_cast<std::uint32_t>(k_tile % stages) * stage_bytes;
  load_codes(gpu, stage, p.a, at.row, p.m, p.k, k_tile);
  load_codes(gpu, stage + b_at, p.b, at.col, p.n, p.k, k_tile);
  if constexpr (layout == ScaleLayout::linear) {
    load_linear_scales(gpu, stage + a_scales_at, p.a_scales, at.row, p.m, p.k, k_tile);
    load_linear_scales(gpu, stage + b_scales_at, p.b_scales, at.col, p.n, p.k, k_tile);
  } else {
    load_tiled_scales(gpu, stage + a_scales_at, p.a_scales, at.row, p.k, k_tile);
    load_tiled_scales(gpu, stage + b_scales_at, p.b_scales, at.col, p.k, k_tile);
  }
}

/// `left`: elements of K from this tile on.
template <class Machine>
NVFP4_HOST_DEVICE void multiply_stage(Machine& gpu, std::int64_t k_tile, std::int64_t left,
                                      float (&acc)[4][4][4]) {
  const int warp = gpu.thread() / 32, lane = gpu.thread() % 32;
  const auto stage = static_cast<std::uint32_t>(k_tile % stages) * stage_bytes;
  NVFP4_UNROLL
  for (int step = 0; step < steps; ++step) {
    std::uint32_t a[4][4], b[2][4], a_scales[4], b_scales[4];
    for (int i = 0; i < 4; ++i) gpu.ldmatrix(stage + a_chunk(warp, lane, i, step), a[i]);
    for (int j = 0; j < 2; ++j) gpu.ldmatrix(stage + b_at + b_chunk(warp, lane, 2 * j, step), b[j]);
    gpu.load16(stage + a_scales_at + a_scale_words(warp, lane, step), a_scales);
    gpu.load16(stage + b_scales_at + b_scale_words(warp, lane, step), b_scales);
    const std::uint32_t mask = scale_mask(left - 64 * step);
    NVFP4_UNROLL
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j)
        gpu.mma(acc[i][j], a[i], b[j / 2] + j % 2 * 2, a_scales[i] & mask, b_scales[j] & mask);
  }
}

template <class Machine>
NVFP4_HOST_DEVICE void store_tile(Machine& gpu, const NativeGemm& p, TileCorner at,
                                  const float (&acc)[4][4][4]) {
  const int warp = gpu.thread() / 32, lane = gpu.thread() % 32;
  NVFP4_UNROLL
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j)
      for (int half = 0; half < 2; ++half)
        store<2>(gpu, p, at.row + a_row(warp, i) + lane / 4 + 8 * half,
                 at.col + b_row(warp, j) + lane % 4 * 2, acc[i][j] + 2 * half);
}

/// One barrier a tile is enough: the slot that is filled during tile t was last read during t - 1.
template <ScaleLayout layout, class Machine>
NVFP4_HOST_DEVICE void multiply_block(Machine& gpu, const NativeGemm& p, std::int64_t block) {
  const TileCorner at = tile_of(block, p, tile, tile);
  const std::int64_t k_tiles = ceil_div(p.k, tile_k);
  float acc[4][4][4] = {};
  for (int t = 0; t < stages - 1; ++t) {
    if (t < k_tiles) load_stage<layout>(gpu, p, at, t);
    gpu.commit();  // empty groups too: wait() counts them
  }
  for (std::int64_t t = 0; t < k_tiles; ++t) {
    gpu.template wait<stages - 2>();
    gpu.sync();
    if (t + stages - 1 < k_tiles) load_stage<layout>(gpu, p, at, t + stages - 1);
    gpu.commit();
    multiply_stage(gpu, t, p.k - t * tile_k, acc);
  }
  store_tile(gpu, p, at, acc);
}

}  // namespace nvfp4::gpu::sm120
