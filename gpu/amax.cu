#include "amax.hpp"

#include <algorithm>
#include <stdexcept>

#include "check.hpp"
#include "device.hpp"
#include "sixteen.cuh"
#include "transform.cuh"

namespace nvfp4::gpu {
namespace {

constexpr int threads = 256;

/// By all of a block's threads; what thread 0 gets is the block's.
__device__ float block_largest(float a) {
  __shared__ float of_warp[threads / 32];
  for (int lane = 16; lane; lane /= 2) a = fmaxf(a, __shfl_xor_sync(~0u, a, lane));
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = a;
  __syncthreads();
  if (threadIdx.x < 32) {
    a = threadIdx.x < threads / 32 ? of_warp[threadIdx.x] : 0;
    for (int lane = 16; lane; lane /= 2) a = fmaxf(a, __shfl_xor_sync(~0u, a, lane));
  }
  __syncthreads();
  return a;
}

/// Bits of numbers from 0 up ascend with them.
__device__ void raise(float* amax, float a) {
  atomicMax(reinterpret_cast<unsigned*>(amax), __float_as_uint(a));
}

template <Dtype T>
__device__ float largest_of_sixteen(const Sixteen<T>& x) {
  const std::uint32_t pattern = x.amax_pattern();
  return pattern > Sixteen<T>::infinity ? x.amax_without_nan() : Sixteen<T>::widen(pattern);
}

template <Dtype T>
__device__ float element(const void* x, std::int64_t at) {
  if constexpr (T == Dtype::fp32) return static_cast<const float*>(x)[at];
  return Sixteen<T>::widen(static_cast<const std::uint16_t*>(x)[at]);
}

/// Of elements first to last - 1 by `count` threads, of which this is number `n`: whole quads of 16 bytes, then what
/// is left over at the end, or all where x does not begin at a multiple of 16 bytes.
template <Dtype T>
__device__ float largest_of_span(const void* x, std::int64_t first, std::int64_t last, std::int64_t n,
                                 std::int64_t count) {
  constexpr int size = T == Dtype::fp32 ? 4 : 2, quads = Sixteen<T>::words / 4, unroll = 8 / quads;
  const char* from = static_cast<const char*>(x) + first * size;
  const bool aligned = reinterpret_cast<std::uintptr_t>(from) % 16 == 0;
  const std::int64_t sixteens = aligned ? (last - first) / 16 : 0;
  float largest = 0;
  const auto load = [&](Sixteen<T>& to, std::int64_t at) {
#pragma unroll
    for (int q = 0; q < quads; ++q) to.put(4 * q, reinterpret_cast<const uint4*>(from)[at * quads + q]);
  };
  std::int64_t at = n;
  for (; at + (unroll - 1) * count < sixteens; at += unroll * count) {
    Sixteen<T> part[unroll];
#pragma unroll
    for (int i = 0; i < unroll; ++i) load(part[i], at + i * count);
#pragma unroll
    for (int i = 0; i < unroll; ++i) largest = fmaxf(largest, largest_of_sixteen(part[i]));
  }
  for (; at < sixteens; at += count) {
    Sixteen<T> part;
    load(part, at);
    largest = fmaxf(largest, largest_of_sixteen(part));
  }
  for (std::int64_t i = first + sixteens * 16 + n; i < last; i += count)
    largest = fmaxf(largest, fabsf(element<T>(x, i)));
  return largest;
}

template <Dtype T>
__global__ void __launch_bounds__(threads) tensor_kernel(const void* x, std::int64_t elements, float* amax) {
  const std::int64_t n = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  const float largest =
      block_largest(largest_of_span<T>(x, 0, elements, n, std::int64_t{gridDim.x} * threads));
  if (threadIdx.x == 0) raise(amax, largest);
}

template <Dtype T>
__global__ void __launch_bounds__(threads)
    rows_kernel(const void* x, std::int64_t rows, std::int64_t cols, float* amaxes) {
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const float largest =
        block_largest(largest_of_span<T>(x, row * cols, row * cols + cols, threadIdx.x, threads));
    if (threadIdx.x == 0) amaxes[row] = largest;
  }
}

/// Two tokens' eight columns from `col` on; 0 beyond the last.
__device__ void load_eight(const std::uint16_t* x, std::int64_t row, std::int64_t col, std::int64_t cols,
                           bool aligned, std::uint32_t (&words)[4]) {
  if (aligned) {
    const uint4 quad = col < cols ? *reinterpret_cast<const uint4*>(x + row * cols + col) : uint4{};
    words[0] = quad.x, words[1] = quad.y, words[2] = quad.z, words[3] = quad.w;
    return;
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const std::uint32_t element = col + j < cols ? x[row * cols + col + j] : 0;
    words[j / 2] = j % 2 ? words[j / 2] | element << 16 : element;
  }
}

/// A lane holds 4 tokens, 2 (lane % 4) and 1, 8 and 9 on, of 8 columns; a row of A is a column, of which lanes with
/// the same lane / 4 hold all tokens. Rows of A are any columns: no output is told from another.
struct FourTokens {
  std::uint32_t words[4][4];

  __device__ void raise(const SignedHadamard& h, std::uint32_t& plain, float& transformed) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      plain = __vimax3_u16x2(plain, words[0][i] & 0x7FFF7FFF, words[1][i] & 0x7FFF7FFF);
      plain = __vimax3_u16x2(plain, words[2][i] & 0x7FFF7FFF, words[3][i] & 0x7FFF7FFF);
      const FragmentA a = {
          __byte_perm(words[0][i], words[1][i], 0x5410), __byte_perm(words[0][i], words[1][i], 0x7632),
          __byte_perm(words[2][i], words[3][i], 0x5410), __byte_perm(words[2][i], words[3][i], 0x7632)};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        FragmentC y;
        h.multiply(a, half, y);
        transformed =
            fmaxf(transformed, fmaxf(fmaxf(fabsf(y[0]), fabsf(y[1])), fmaxf(fabsf(y[2]), fabsf(y[3]))));
      }
    }
  }

  __device__ float without_nan() const {
    float largest = 0;
    for (const auto& row : words)
      for (const std::uint32_t pair : row)
        largest = fmaxf(largest,
                        fmaxf(fabsf(__uint_as_float(pair << 16)), fabsf(__uint_as_float(pair & 0xFFFF0000))));
    return largest;
  }
};

/// A warp takes 16 tokens by 64 columns at a time. Rounding is monotone: the largest sum is rounded, once.
__global__ void __launch_bounds__(threads)
    transformed_kernel(const std::uint16_t* x, std::int64_t rows, std::int64_t cols, bool aligned,
                       std::uint32_t sign_mask, float* amax, float* transformed) {
  const SignedHadamard hadamard(sign_mask);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const std::int64_t strips = (cols + 63) / 64, units = rows / 16 * strips;
  float plain = 0, sum = 0;
  const std::int64_t warp = (std::int64_t{blockIdx.x} * threads + threadIdx.x) / 32,
                     warps = std::int64_t{gridDim.x} * (threads / 32);
#pragma unroll 2
  for (std::int64_t unit = warp; unit < units; unit += warps) {
    const std::int64_t row = unit / strips * 16 + 2 * (lane % 4), col = unit % strips * 64 + lane / 4 * 8;
    FourTokens tokens;
#pragma unroll
    for (int i = 0; i < 4; ++i) load_eight(x, row + i / 2 * 8 + i % 2, col, cols, aligned, tokens.words[i]);
    std::uint32_t pattern = 0;
    tokens.raise(hadamard, pattern, sum);
    pattern = max(pattern >> 16, pattern & 0xFFFF);
    plain = fmaxf(plain, pattern > 0x7F80 ? tokens.without_nan() : __uint_as_float(pattern << 16));
  }
  plain = block_largest(plain);
  sum = block_largest(to_bf16(Number(sum)).value);
  if (threadIdx.x == 0) {
    raise(amax, plain);
    raise(transformed, sum);
  }
}

/// As many blocks as the device holds, and no more than there is work for.
template <class Kernel>
unsigned blocks_for(Kernel kernel, std::int64_t wanted) {
  int device = 0, processors = 0, each = 0;
  check(cudaGetDevice(&device), "current device");
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
        "number of multiprocessors");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, threads, 0), "occupancy");
  return static_cast<unsigned>(std::clamp<std::int64_t>(wanted, 1, std::int64_t{processors} * each));
}

void clear(float* amax, Stream stream) {
  check(cudaMemsetAsync(amax, 0, sizeof(float), stream), "memset of an amax");
}

template <Dtype T>
void launch_tensor(MatrixView x, float* amax, Stream stream) {
  const std::int64_t elements = x.rows * x.cols;
  const unsigned blocks = blocks_for(tensor_kernel<T>, (elements + 16 * threads - 1) / (16 * threads));
  tensor_kernel<T><<<blocks, threads, 0, stream>>>(x.data, elements, amax);
}

template <Dtype T>
void launch_rows(MatrixView x, float* amaxes, Stream stream) {
  rows_kernel<T><<<blocks_for(rows_kernel<T>, x.rows), threads, 0, stream>>>(x.data, x.rows, x.cols, amaxes);
}

}  // namespace

void tensor_amax(MatrixView x, float* amax, Stream stream) {
  clear(amax, stream);
  constexpr decltype(&launch_tensor<Dtype::fp32>) launches[] = {
      launch_tensor<Dtype::fp32>, launch_tensor<Dtype::bf16>, launch_tensor<Dtype::fp16>};
  launches[static_cast<int>(x.dtype)](x, amax, stream);
  check_launch("tensor_kernel");
}

void row_amaxes(MatrixView x, float* amaxes, Stream stream) {
  constexpr decltype(&launch_rows<Dtype::fp32>) launches[] = {
      launch_rows<Dtype::fp32>, launch_rows<Dtype::bf16>, launch_rows<Dtype::fp16>};
  launches[static_cast<int>(x.dtype)](x, amaxes, stream);
  check_launch("rows_kernel");
}

void transformed_amax(MatrixView x, std::uint32_t sign_mask, float* amax, float* transformed, Stream stream) {
  if (x.dtype != Dtype::bf16 || x.rows % 16)
    throw std::invalid_argument("the transform along tokens takes BF16 and rows in multiples of 16");
  require_tensor_core_sum();
  clear(amax, stream);
  clear(transformed, stream);
  const bool aligned = x.cols % 8 == 0 && reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0;
  const std::int64_t warps = x.rows / 16 * ((x.cols + 63) / 64);
  transformed_kernel<<<blocks_for(transformed_kernel, (warps + 7) / 8), threads, 0, stream>>>(
      static_cast<const std::uint16_t*>(x.data), x.rows, x.cols, aligned, sign_mask, amax, transformed);
  check_launch("transformed_kernel");
}

}  // namespace nvfp4::gpu
