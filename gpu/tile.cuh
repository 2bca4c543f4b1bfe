#pragma once
#include <cuda_bf16.h>

#include "sixteen.cuh"
#include "transform.cuh"

namespace nvfp4::gpu {

/// 128 tokens (rows) by 128 features (columns) of 16 bits in shared memory, in chunks of 8 features. A chunk's place in
/// its row is turned so that no access below meets a bank twice: those of 8 chunks of a row, of 8 rows side by side,
/// and of rows 16 t + s for t < 4, s < 2.
struct Tile {
  static constexpr int side = 128, chunks = side / 8, threads = 256;
  uint4 chunk[side * chunks];

  __device__ static unsigned place(unsigned row, unsigned chunk) {
    return row * chunks + (chunk ^ (chunk >> 3) ^ (row & 7) ^ ((row >> 3) & 6));
  }
  __device__ unsigned address(unsigned row, unsigned at) const {
    return static_cast<unsigned>(__cvta_generic_to_shared(&chunk[place(row, at)]));
  }

  /// From (row, col) on, 0 beyond the matrix. Asynchronous, until wait(), for a whole tile where every row starts at a
  /// multiple of 16 bytes.
  __device__ void fill(const std::uint16_t* x, std::int64_t row, std::int64_t col, std::int64_t rows,
                       std::int64_t cols, bool aligned) {
    constexpr unsigned down = threads / chunks;
    const unsigned at = threadIdx.x % chunks, first = threadIdx.x / chunks;
    const std::uint16_t* from = x + (row + first) * cols + col + 8 * at;
    if (aligned && row + side <= rows && col + side <= cols) {
#pragma unroll
      for (unsigned r = 0; r < side; r += down, from += down * cols)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address(r | first, at)), "l"(from));
      return;
    }
#pragma unroll 1
    for (unsigned r = first; r < side; r += down, from += down * cols) {
      std::uint32_t words[4] = {0, 0, 0, 0};
#pragma unroll
      for (int j = 0; j < 8; ++j)
        if (row + r < rows && col + 8 * at + j < cols) words[j / 2] |= std::uint32_t{from[j]} << (j % 2 * 16);
      chunk[place(r, at)] = make_uint4(words[0], words[1], words[2], words[3]);
    }
  }
  __device__ static void wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }

  template <Dtype T>
  __device__ static void put(Sixteen<T>& x, int first, uint4 quad) {
    x.word[first] = quad.x, x.word[first + 1] = quad.y, x.word[first + 2] = quad.z,
    x.word[first + 3] = quad.w;
  }

  /// Block `block` of a row.
  template <Dtype T>
  __device__ Sixteen<T> row_block(unsigned row, unsigned block) const {
    Sixteen<T> x;
    put(x, 0, chunk[place(row, 2 * block)]);
    put(x, 4, chunk[place(row, 2 * block + 1)]);
    return x;
  }

  /// By a warp, of 64 tokens from `row` on and the features of chunk `at`: a lane gets the block of feature lane / 4 and
  /// tokens 16 (lane % 4) to 16 (lane % 4) + 15. Matrix i of ldmatrix.trans has as its rows tokens 2 i and 2 i + 1 of
  /// each of the four blocks.
  template <Dtype T>
  __device__ Sixteen<T> column_block(unsigned row, unsigned at) const {
    Sixteen<T> x;
    const unsigned lane = threadIdx.x % 32;
    const unsigned token = row | lane % 8 / 2 * 16 | lane % 2 | lane / 8 * 2;
#pragma unroll
    for (unsigned i = 0; i < 2; ++i)
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                   : "=r"(x.word[4 * i]), "=r"(x.word[4 * i + 1]), "=r"(x.word[4 * i + 2]),
                     "=r"(x.word[4 * i + 3])
                   : "r"(address(token | 8 * i, at))
                   : "memory");
    return x;
  }

  /// The same of the transform along tokens, rounded to BF16, which takes the place of those tokens and features in
  /// the tile: row 16 b + 8 h + g there has outputs 8 h to 8 h + 7 of block b and feature g.
  __device__ Sixteen<Dtype::bf16> transformed_block(unsigned row, unsigned at,
                                                    const SignedHadamard& hadamard) {
    const unsigned lane = threadIdx.x % 32;
#pragma unroll
    for (unsigned first = row; first < row + 64; first += 32) {
      const unsigned token = first | lane % 8;
      std::uint32_t a[4], out[4];
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                   : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                   : "r"(address(token | lane / 8 % 2 * 16 | lane / 16 * 8, at))
                   : "memory");
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float y[4];
        hadamard.multiply(a, half, y);
        out[half] = pair(y[0], y[1]);
        out[half + 2] = pair(y[2], y[3]);
      }
      store(token | lane / 8 * 8, at, out);
    }
    __syncwarp();
    Sixteen<Dtype::bf16> x;
    put(x, 0, chunk[place(row | lane % 4 * 16 | lane / 4, at)]);
    put(x, 4, chunk[place(row | lane % 4 * 16 | lane / 4 | 8, at)]);
    return x;
  }

 private:
  __device__ static std::uint32_t pair(float low, float high) {
    std::uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
  }

  /// Four matrices of 8x8, the rows of each to the rows from `row` on that its eight lanes name.
  __device__ void store(unsigned row, unsigned at, const std::uint32_t (&matrix)[4]) {
#if __CUDA_ARCH__ >= 900
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(address(row, at)),
                 "r"(matrix[0]), "r"(matrix[1]), "r"(matrix[2]), "r"(matrix[3])
                 : "memory");
#else
    const unsigned lane = threadIdx.x % 32, first = row - lane / 8 * 8 - lane % 8;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      reinterpret_cast<std::uint32_t*>(&chunk[place(first + 8 * i + lane / 4, at)])[lane % 4] = matrix[i];
#endif
  }
};

}  // namespace nvfp4::gpu
