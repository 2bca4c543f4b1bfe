#include "quantize_rows.hpp"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <string>

#include "check.hpp"
#include "fast_dialects.hpp"
#include "output.cuh"

namespace nvfp4::gpu {
namespace {

constexpr int threads = 256, rows_a_thread = 4;

template <Dtype T>
struct Source {
  const void* data;
  bool aligned;  ///< every block is whole and starts at a multiple of 16 bytes
};

template <Dtype T>
__device__ Sixteen<T> load(const Source<T>& x, std::int64_t row, std::int64_t block, const Output& out) {
  Sixteen<T> to;
  constexpr int quads = Sixteen<T>::words / 4;
  if (x.aligned) {
    const uint4* from = static_cast<const uint4*>(x.data) + (row * out.blocks + block) * quads;
#pragma unroll
    for (int i = 0; i < quads; ++i) {
      const uint4 quad = __ldcs(from + i);
      to.word[4 * i] = quad.x, to.word[4 * i + 1] = quad.y, to.word[4 * i + 2] = quad.z,
                  to.word[4 * i + 3] = quad.w;
    }
    return to;
  }
#pragma unroll
  for (int i = 0; i < Sixteen<T>::words; ++i) to.word[i] = 0;
#pragma unroll
  for (int j = 0; j < 16; ++j)
    if (const std::int64_t at = row * out.cols + 16 * block + j; 16 * block + j < out.cols) {
      if constexpr (T == Dtype::fp32)
        to.word[j] = static_cast<const std::uint32_t*>(x.data)[at];
      else
        to.word[j / 2] |= std::uint32_t{static_cast<const std::uint16_t*>(x.data)[at]} << (j % 2 * 16);
    }
  return to;
}

/// The encodes of the one tensor scale, by all threads.
template <class D>
__device__ void fill(Encodes<D>& encodes, const Output& out) {
  if constexpr (Encodes<D>::exist) {
    if (threadIdx.x < 128) encodes.fill(out.tensor<D>(0), static_cast<int>(threadIdx.x));
    __syncthreads();
  }
}

/// Threads lie along a row, `across` of them, a power of two, the rest of them in rows below. What was read last for an
/// amax is read first: some of it is still in L2.
template <class D, Dtype T, bool stochastic>
__global__ void __launch_bounds__(threads)
    rows_kernel(const Source<T> x, const __grid_constant__ Output out, int across) {
  __shared__ Encodes<D> encodes;
  const int down = threads / across;
  const std::int64_t block = std::int64_t{blockIdx.y} * across + threadIdx.x % across;
  const std::int64_t first =
      std::int64_t{gridDim.x - 1 - blockIdx.x} * rows_a_thread * down + threadIdx.x / across;
  if (blockIdx.x == 0 && threadIdx.x == 0 && blockIdx.y == 0 && !out.per_row) put_global<D>(out, 0);
  Sixteen<T> elements[rows_a_thread];
#pragma unroll
  for (int i = 0; i < rows_a_thread; ++i)
    if (block < out.blocks && first + i * down < out.rows)
      elements[i] = load(x, first + i * down, block, out);
  fill(encodes, out);
  if (block >= out.blocks) return;
  auto tensor = out.tensor<D>(0);
#pragma unroll
  for (int i = 0; i < rows_a_thread; ++i) {
    const std::int64_t row = first + i * down;
    if (row >= out.rows) return;
    if constexpr (D::info.per_row) {
      tensor = out.tensor<D>(row);
      if (block == 0) put_global<D>(out, row);
    }
    const auto r = static_cast<std::uint32_t>(row), b = static_cast<std::uint32_t>(block);
    out.put(r, b,
            quantize_block<D, T, stochastic>(elements[i], largest_of<D>(elements[i]), tensor, encodes, r, b,
                                             out));
  }
}

/// Blocks of 16x16: a row of one for each thread.
template <class D, Dtype T, bool stochastic>
__global__ void __launch_bounds__(threads)
    squares_kernel(const Source<T> x, const __grid_constant__ Output out) {
  __shared__ Encodes<D> encodes;
  fill(encodes, out);
  const std::int64_t square = std::int64_t{blockIdx.x} * (threads / 16) + threadIdx.x / 16;
  const std::int64_t row = square / out.blocks * 16 + threadIdx.x % 16, block = square % out.blocks;
  if (square == 0 && threadIdx.x == 0) put_global<D>(out, 0);
  const bool inside = row < out.rows;
  const Sixteen<T> elements = inside ? load(x, row, block, out) : Sixteen<T>{};
  Largest largest = largest_of<D>(elements);
  largest.amax = largest_of_lanes<1, 2, 4, 8>(largest.amax);
  if (!inside) return;
  const auto r = static_cast<std::uint32_t>(row), b = static_cast<std::uint32_t>(block);
  out.put(r, b, quantize_block<D, T, stochastic>(elements, largest, out.tensor<D>(0), encodes, r, b, out));
}

template <class D, Dtype T, bool stochastic>
void launch(MatrixView x, const Output& out, Stream stream) {
  const Source<T> source{x.data, x.cols % 16 == 0 && reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0};
  if (out.setting.block.rows == 16 && !D::info.per_row) {
    const std::int64_t squares = (x.rows + 15) / 16 * out.blocks;
    squares_kernel<D, T, stochastic>
        <<<static_cast<unsigned>((squares + threads / 16 - 1) / (threads / 16)), threads, 0, stream>>>(source,
                                                                                                       out);
    return check_launch("squares_kernel");
  }
  const int across =
      static_cast<int>(std::bit_ceil(static_cast<unsigned>(std::min<std::int64_t>(out.blocks, threads))));
  const std::int64_t rows = rows_a_thread * threads / across;
  const dim3 grid(static_cast<unsigned>((x.rows + rows - 1) / rows),
                  static_cast<unsigned>((out.blocks + across - 1) / across));
  rows_kernel<D, T, stochastic><<<grid, threads, 0, stream>>>(source, out, across);
  check_launch("rows_kernel");
}

using Launch = void (*)(MatrixView, const Output&, Stream);

template <class D, Dtype T>
Launch launch_of(bool stochastic) {
  if constexpr (D::info.stochastic)
    if (stochastic) return launch<D, T, true>;
  return launch<D, T, false>;
}

template <class D>
Launch launch_of(Dtype dtype, bool stochastic) {
  return dtype == Dtype::fp32   ? launch_of<D, Dtype::fp32>(stochastic)
         : dtype == Dtype::bf16 ? launch_of<D, Dtype::bf16>(stochastic)
                                : launch_of<D, Dtype::fp16>(stochastic);
}

constexpr auto launches =
    FastDialects::table([]<class D>(D) -> Launch (*)(Dtype, bool) { return launch_of<D>; });

}  // namespace

bool has_quantize_rows(const QuantizeSpec& spec) {
  if (!spec.dialect || (spec.dialect->four_over_six && spec.block.rows == 16)) return false;
  if (spec.tensor_scale == TensorScale::row && !spec.dialect->per_row) return false;
  return std::ranges::find(FastDialects::infos, spec.dialect) != FastDialects::infos.end();
}

void quantize_rows(MatrixView x, const QuantizeSpec& spec, const float* amaxes, const TensorParts& parts,
                   ScaleLayout layout, Stream stream) {
  const Output out = output(x.rows, x.cols, x.dtype, spec, amaxes, parts, layout, stream);
  if (!has_quantize_rows(spec))
    throw std::invalid_argument("no fast row-wise kernel for " + std::string(spec.dialect->name) + " " +
                                block_name(spec.block));
  const auto at = static_cast<std::size_t>(std::ranges::find(FastDialects::infos, spec.dialect) -
                                           FastDialects::infos.begin());
  launches[at](x.dtype, spec.stochastic.has_value())(x, out, stream);
}

}  // namespace nvfp4::gpu
