#include <cuda_bf16.h>

#include <algorithm>
#include <stdexcept>

#include "check.hpp"
#include "emulated_gemm.hpp"
#include "mma_bf16.cuh"
#include "step_class.cuh"

namespace nvfp4::gpu {
namespace {

// A block of four warps computes 128 x 128 outputs, a warp 64 x 64 of them: 4 x 8 MMA tiles.
constexpr std::int64_t tile = tile_rows;
constexpr int depth = step_k, threads = 128, warp_tile = 64, stages = 3;
constexpr int m_tiles = warp_tile / 16, n_tiles = warp_tile / 8, k_tiles = depth / 16;
constexpr int row_bytes = depth * 2, operand_bytes = tile_rows * row_bytes, stage_bytes = 2 * operand_bytes;

struct Arguments {
  ExpandedOperand a, b;
  void* d;
  bool bf16;
  const float* alpha;
  StepCounts* counts;
  const std::uint32_t *tiles, *count;
  std::uint32_t down, across;
  int steps;
};

struct Tile {
  std::uint32_t row, col;  // in tiles
};

// Without a list: bands of 8 tiles' height, down each column of a band before the next, so that tiles that run together
// share strips in L2.
__device__ Tile tile_at(const Arguments& p, std::uint32_t index) {
  if (p.tiles) return {p.tiles[index] / p.across, p.tiles[index] % p.across};
  const std::uint32_t band = index / (8 * p.across), inside = index % (8 * p.across);
  const std::uint32_t height = min(p.down - 8 * band, 8u);
  return {8 * band + inside % height, inside / height};
}

// 16-byte chunk c of row r stands at c ^ (r mod 8).
__device__ int offset_of(int row, int chunk) { return row * row_bytes + ((chunk ^ (row & 7)) << 4); }

// A thread takes a chunk of every 16th row.
__device__ __forceinline__ void copy_rows(std::uint32_t to, const std::uint16_t* from,
                                          std::int64_t k_padded) {
  constexpr int rows = threads / 8;
  const int row = threadIdx.x / 8, chunk = threadIdx.x % 8;
  to += offset_of(row, chunk);
  from += row * k_padded + chunk * 8;
#pragma unroll
  for (int i = 0; i < tile / rows; ++i) copy_async(to + i * rows * row_bytes, from + i * rows * k_padded);
}

__device__ StepStats stats_at(const ExpandedOperand& x, std::int64_t at) {
  return {x.range[at], x.unit[at], x.top[at]};
}

struct Warp {
  static constexpr int outputs = m_tiles * n_tiles * 4;  // a lane's
  int row, col, lane;                                    // row and column in the block's tile
  std::uint32_t a, b;            // of a stage, where the lane's rows for load_matrices() start
  float c[m_tiles][n_tiles][4];  // the accumulators * 2^-28

  __device__ Warp()
      : row(threadIdx.x / 64 * warp_tile), col(threadIdx.x / 32 % 2 * warp_tile), lane(threadIdx.x % 32) {
    a = offset_of(row + lane % 16, lane / 16);
    b = operand_bytes + offset_of(col + lane % 8 + lane / 16 * 8, lane / 8 % 2);
  }

  __device__ float& output(int n) { return c[n / 32][n / 4 % 8][n % 4]; }
  // In the block's tile.
  __device__ int row_of(int n) const { return row + n / 32 * 16 + n % 4 / 2 * 8 + lane / 4; }
  __device__ int col_of(int n) const { return col + n / 4 % 8 * 8 + lane % 4 * 2 + n % 2; }

  // Of 16 rows and 16 values.
  __device__ __forceinline__ void load_a(std::uint32_t (&v)[4], std::uint32_t stage, int m, int k) const {
    load_matrices(v[0], v[1], v[2], v[3], ((stage + a) ^ k * 32) + m * 16 * row_bytes);
  }
  // Of two times 8 columns and 16 values.
  __device__ __forceinline__ void load_b(std::uint32_t (&v)[2], std::uint32_t (&w)[2], std::uint32_t stage,
                                         int n, int k) const {
    load_matrices(v[0], v[1], w[0], w[1], ((stage + b) ^ k * 32) + n * 8 * row_bytes);
  }
};

// A step's products add up exactly in FP32; their sum is added toward zero. Fragments of B stay, those of A pass.
__device__ __forceinline__ void chain_step(Warp& w, std::uint32_t stage) {
  constexpr int width = 4;
  std::uint32_t b[n_tiles][k_tiles][2];
#pragma unroll
  for (int m = 0; m < m_tiles; ++m) {
    std::uint32_t a[k_tiles][4];
#pragma unroll
    for (int k = 0; k < k_tiles; ++k) w.load_a(a[k], stage, m, k);
#pragma unroll
    for (int first = 0; first < n_tiles; first += width) {
      float sum[width][4] = {};
#pragma unroll
      for (int k = 0; k < k_tiles; ++k) {
        if (m == 0)
#pragma unroll
          for (int n = first; n < first + width; n += 2) w.load_b(b[n][k], b[n + 1][k], stage, n, k);
#pragma unroll
        for (int n = 0; n < width; ++n) mma(sum[n], a[k], b[first + n][k], sum[n]);
      }
#pragma unroll
      for (int n = 0; n < width; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) w.c[m][first + n][i] = __fadd_rz(w.c[m][first + n][i], sum[n][i]);
    }
  }
}

// C and the step's groups add up in two numbers. The coarse one is kept in one binade, `origin` in its middle, so it is a
// multiple of that binade's unit g. An MMA adds a group to it and truncates: what it did is the difference, exact, and
// a second MMA of that difference and the group gives the rest, exact too: |rest| < 10 g, as a product is cut by less
// than g / 4 (F = 25, 16 products, then the sum by less than g) or g / 2 (F = 24, twice 8 products), and
// g <= 2^18 units. All rests then stay below 2^24 units, and one addition toward zero ends the step.
__device__ __forceinline__ void split_step(Warp& w, std::uint32_t stage, float origin) {
  constexpr int width = 4;
#pragma unroll
  for (int m = 0; m < m_tiles; ++m) {
    std::uint32_t a[k_tiles][4];
#pragma unroll
    for (int k = 0; k < k_tiles; ++k) w.load_a(a[k], stage, m, k);
#pragma unroll
    for (int first = 0; first < n_tiles; first += width) {
      float coarse[width][4], fine[width][4], rest[width][4];
#pragma unroll
      for (int n = 0; n < width; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float c = w.c[m][first + n][i];
          coarse[n][i] = c + origin;
          fine[n][i] = c - (coarse[n][i] - origin);
        }
#pragma unroll
      for (int k = 0; k < k_tiles; ++k) {
        std::uint32_t b[width][2];
#pragma unroll
        for (int n = 0; n < width; n += 2) w.load_b(b[n], b[n + 1], stage, first + n, k);
        float next[width][4];
#pragma unroll
        for (int n = 0; n < width; ++n) mma(next[n], a[k], b[n], coarse[n]);
        // The last rests come while these sums are on their way.
        if (k > 0)
#pragma unroll
          for (int n = 0; n < width; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) fine[n][i] += rest[n][i];
#pragma unroll
        for (int n = 0; n < width; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            rest[n][i] = coarse[n][i] - next[n][i];
            coarse[n][i] = next[n][i];
          }
          mma(rest[n], a[k], b[n], rest[n]);
        }
      }
#pragma unroll
      for (int n = 0; n < width; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          w.c[m][first + n][i] = __fadd_rz(coarse[n][i] - origin, fine[n][i] + rest[n][i]);
    }
  }
}

__device__ float bf16_at(std::uint32_t pair, int half) {
  return __uint_as_float(half ? pair & 0xFFFF0000 : pair << 16);
}

__device__ int exponent_at(const ExpandedOperand& x, std::int64_t row, std::int64_t block) {
  const std::int64_t blocks = (x.k + group_k - 1) / group_k;
  return row < x.rows && block < blocks ? scale_exponent(x.scales[row * blocks + block]) : 0;
}

__device__ Group group_in(const std::uint8_t* stage, int row, int col, int g, int exponent) {
  float sum = 0;
  bool zero = true;
  for (int chunk = 2 * g; chunk < 2 * g + 2; ++chunk) {
    const auto x = *reinterpret_cast<const uint4*>(stage + offset_of(row, chunk));
    const auto y = *reinterpret_cast<const uint4*>(stage + operand_bytes + offset_of(col, chunk));
    const std::uint32_t a[4] = {x.x, x.y, x.z, x.w}, b[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float product = bf16_at(a[i / 2], i % 2) * bf16_at(b[i / 2], i % 2);
      zero = zero && product == 0;
      sum += product;
    }
  }
  const float whole = sum * power_of_two(folded_bits + 8 - exponent);
  return {static_cast<int>(whole), zero ? zero_exponent : exponent, isnan(sum)};
}

__device__ float literal_output(const Arguments& p, const std::uint8_t* stage, Tile at, int t, int row,
                                int col, float c) {
  Group groups[groups_of_step];
  for (int g = 0; g < groups_of_step; ++g) {
    const std::int64_t block = static_cast<std::int64_t>(t) * groups_of_step + g;
    const int exponent =
        exponent_at(p.a, at.row * tile + row, block) + exponent_at(p.b, at.col * tile + col, block);
    groups[g] = group_in(stage, row, col, g, exponent);
  }
  const float model = __uint_as_float(group_step(__float_as_uint(c * power_of_two(folded_bits)), groups));
  return isnan(model) ? model : model * power_of_two(-folded_bits);
}

// The accumulators pass through local memory, where a loop that is not unrolled can reach them.
__device__ void literal_step(Warp& w, const Arguments& p, const std::uint8_t* stage, Tile at, int t) {
  float c[Warp::outputs];
#pragma unroll
  for (int n = 0; n < Warp::outputs; ++n) c[n] = w.output(n);
#pragma unroll 1
  for (int n = 0; n < Warp::outputs; ++n)
    c[n] = literal_output(p, stage, at, t, w.row_of(n), w.col_of(n), c[n]);
#pragma unroll
  for (int n = 0; n < Warp::outputs; ++n) w.output(n) = c[n];
}

// The largest magnitude of a warp's accumulators; NaN does not count.
__device__ float largest(Warp& w) {
  float x = 0;
#pragma unroll
  for (int n = 0; n < Warp::outputs; ++n) x = fmaxf(x, fabsf(w.output(n)));
  return __uint_as_float(__reduce_max_sync(~0u, __float_as_uint(x)));
}

__device__ void store(Warp& w, const Arguments& p, Tile at) {
  const float alpha = p.alpha ? *p.alpha : 1;
#pragma unroll
  for (int n = 0; n < Warp::outputs; ++n) {
    const std::int64_t row = at.row * tile + w.row_of(n), col = at.col * tile + w.col_of(n);
    if (row >= p.a.rows || col >= p.b.rows) continue;
    const float y = w.output(n) * power_of_two(folded_bits) * alpha;
    const std::int64_t to = row * p.b.rows + col;
    if (p.bf16)
      static_cast<__nv_bfloat16*>(p.d)[to] = __float2bfloat16_rn(y);
    else
      static_cast<float*>(p.d)[to] = y;
  }
}

__global__ void __launch_bounds__(threads, 2) emulated_kernel(const __grid_constant__ Arguments p) {
  extern __shared__ __align__(1024) std::uint8_t shared[];
  const auto base = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  const std::int64_t k_padded = static_cast<std::int64_t>(p.steps) * depth;
  const std::uint32_t count = p.tiles ? *p.count : p.down * p.across;
  unsigned steps = 0, split = 0, literal = 0;

  for (std::uint32_t index = blockIdx.x; index < count; index += gridDim.x) {
    const Tile at = tile_at(p, index);
    const auto copy_step = [&](int t) {
      const std::uint32_t to = base + t % stages * stage_bytes;
      const std::int64_t first = static_cast<std::int64_t>(t) * depth;
      copy_rows(to, p.a.values + at.row * tile * k_padded + first, k_padded);
      copy_rows(to + operand_bytes, p.b.values + at.col * tile * k_padded + first, k_padded);
    };
    Warp w;
#pragma unroll
    for (int n = 0; n < Warp::outputs; ++n) w.output(n) = 0;
    Accumulated c;
    __syncthreads();
    for (int t = 0; t < stages - 1; ++t) {
      if (t < p.steps) copy_step(t);
      commit_copies();
    }
    for (int t = 0; t < p.steps; ++t) {
      const StepStats a = stats_at(p.a, static_cast<std::int64_t>(at.row) * p.steps + t);
      const StepStats b = stats_at(p.b, static_cast<std::int64_t>(at.col) * p.steps + t);
      await_copies<stages - 2>();
      __syncthreads();
      if (t + stages - 1 < p.steps) copy_step(t + stages - 1);
      commit_copies();

      StepRule rule = step_rule(a, b, c.unit);
      if (!(c.bound < rule.limit)) c.bound = largest(w);
      if (!(c.bound < rule.limit)) rule.step_class = StepClass::literal;
      c = after(c, rule, a, b);
      const std::uint32_t stage = base + t % stages * stage_bytes;
      if (rule.step_class == StepClass::chain) {
        chain_step(w, stage);
      } else if (rule.step_class == StepClass::split) {
        split_step(w, stage, coarse_origin(rule.unit));
        ++split;
      } else {
        literal_step(w, p, shared + t % stages * stage_bytes, at, t);
        ++literal;
      }
    }
    steps += p.steps;
    store(w, p, at);
  }
  if (p.counts && threadIdx.x % 32 == 0) {
    atomicAdd(&p.counts->chain, steps - split - literal);
    atomicAdd(&p.counts->split, split);
    atomicAdd(&p.counts->literal, literal);
  }
}

void launch(const Arguments& p, Stream stream) {
  constexpr int bytes = stages * stage_bytes;
  check(cudaFuncSetAttribute(emulated_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "cudaFuncSetAttribute");
  int device = 0, processors = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
        "cudaDeviceGetAttribute");
  const std::uint32_t all = p.down * p.across;
  const std::uint32_t blocks = p.tiles ? std::min(all, static_cast<std::uint32_t>(2 * processors)) : all;
  emulated_kernel<<<blocks, threads, bytes, stream>>>(p);
  check_launch("emulated_gemm");
}

}  // namespace

void emulated_gemm(const EmulatedGemm& g, Stream stream) {
  if (g.a.rows < 1 || g.b.rows < 1 || g.a.k < 1 || g.a.k != g.b.k)
    throw std::invalid_argument("emulated_gemm: sizes must be 1 or more, and both operands of one k");
  if (g.out == Dtype::fp16) throw std::invalid_argument("emulated_gemm: the output must be FP32 or BF16");
  const Arguments p{g.a,
                    g.b,
                    g.d,
                    g.out == Dtype::bf16,
                    g.alpha,
                    g.counts,
                    g.tiles ? g.tiles->tiles : nullptr,
                    g.tiles ? g.tiles->count : nullptr,
                    static_cast<std::uint32_t>(tiles_of(g.a.rows)),
                    static_cast<std::uint32_t>(tiles_of(g.b.rows)),
                    static_cast<int>(steps_of(g.a.k))};
  launch(p, stream);
}

}  // namespace nvfp4::gpu
