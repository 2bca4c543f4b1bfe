#include "quantize_both.hpp"

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>

#include "check.hpp"
#include "output.cuh"
#include "tile.cuh"

namespace nvfp4::gpu {
namespace {

using Fast = DialectList<dialects::te, dialects::te_rht_fused, dialects::te_4over6>;

/// What all kernels of one launch know.
struct Both {
  const std::uint16_t* x;
  std::int64_t rows, cols;
  bool aligned;  ///< every row starts at a multiple of 16 bytes
  bool squares;  ///< 16x16 blocks
  std::uint32_t sign_mask;
  Output row, column;
};

/// A warp takes four rows of eight blocks at a time; of squares, two side by side.
template <class D, Dtype T, bool stochastic, class Tensor>
__device__ void quantize_tile_rows(const Tile& tile, const Both& t, const Tensor& tensor, std::int64_t row0,
                                   std::int64_t col0) {
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
#pragma unroll 1
  for (int unit = warp; unit < 32; unit += Tile::threads / 32) {
    const int r = t.squares ? unit / 4 * 16 + lane % 16 : 4 * unit + lane / 8;
    const int b = t.squares ? unit % 4 * 2 + lane / 16 : lane % 8;
    const Sixteen<T> x = tile.row_block<T>(r, b);
    Largest largest = largest_of<D>(x);
    if (t.squares) largest.amax = largest_of_lanes<1, 2, 4, 8>(largest.amax);
    const std::int64_t row = row0 + r, block = col0 / 16 + b;
    if (row < t.row.rows && block < t.row.blocks)
      quantize_block<D, T, stochastic>(x, largest, tensor, row, block, t.row);
  }
}

/// A warp takes four blocks of 16 features at a time, eight and then eight.
template <class D, Dtype T, bool stochastic, bool transform, class Tensor>
__device__ void quantize_tile_columns(Tile& tile, const Both& t, const Tensor& tensor, std::int64_t row0,
                                      std::int64_t col0) {
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const SignedHadamard hadamard(transform ? t.sign_mask : 0);
#pragma unroll 1
  for (int unit = warp; unit < 16; unit += Tile::threads / 32) {
    const int first = unit / 8 * 64, chunk = unit % 8 * 2;
    Sixteen<T> x[2];
    Largest largest[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if constexpr (transform)
        x[i] = tile.transformed_block(first, chunk + i, hadamard);
      else
        x[i] = tile.column_block<T>(first, chunk + i);
      largest[i] = largest_of<D>(x[i]);
    }
    if (t.squares) {
      const float all =
          largest_of_lanes<4, 8, 16>(float_of(max(bits_of(largest[0].amax), bits_of(largest[1].amax))));
      largest[0].amax = largest[1].amax = all;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const std::int64_t row = col0 + 8 * (chunk + i) + lane / 4, block = (row0 + first) / 16 + lane % 4;
      if (row < t.column.rows && block < t.column.blocks)
        quantize_block<D, T, stochastic>(x[i], largest[i], tensor, row, block, t.column);
    }
  }
}

/// What was read last for an amax is read first: some of it is still in L2.
template <class D, Dtype T, bool stochastic, bool transform>
__global__ void __launch_bounds__(Tile::threads, 4) both_kernel(const __grid_constant__ Both t) {
  using Tensor = decltype(t.row.tensor<D>(0));
  __shared__ Tile tile;
  __shared__ alignas(Tensor) std::byte room[2][sizeof(Tensor)];
  const std::int64_t across = (t.cols + Tile::side - 1) / Tile::side, n = gridDim.x - 1 - blockIdx.x;
  const std::int64_t row0 = n / across * Tile::side, col0 = n % across * Tile::side;
  if (threadIdx.x < 2) {
    const Output& out = threadIdx.x == 0 ? t.row : t.column;
    if (out.parts.codes) {
      new (room[threadIdx.x]) Tensor(out.tensor<D>(0));
      if (row0 == 0 && col0 == 0) put_global<D>(out, 0);
    }
  }
  tile.fill(t.x, row0, col0, t.rows, t.cols, t.aligned);
  __syncthreads();
  if (t.row.parts.codes)
    quantize_tile_rows<D, T, stochastic>(tile, t, *reinterpret_cast<const Tensor*>(room[0]), row0, col0);
  if (transform) __syncthreads();  // rows are read before columns are written in their place
  if (t.column.parts.codes)
    quantize_tile_columns<D, T, stochastic, transform>(tile, t, *reinterpret_cast<const Tensor*>(room[1]),
                                                       row0, col0);
}

template <class D, Dtype T, bool stochastic, bool transform>
void launch(const Both& t, Stream stream) {
  const std::int64_t tiles =
      (t.cols + Tile::side - 1) / Tile::side * ((t.rows + Tile::side - 1) / Tile::side);
  both_kernel<D, T, stochastic, transform><<<static_cast<unsigned>(tiles), Tile::threads, 0, stream>>>(t);
  check_launch("both_kernel");
}

using Launch = void (*)(const Both&, Stream);

/// Null where there is no such kernel.
template <class D, Dtype T>
Launch launch_of(bool stochastic, bool transform) {
  if constexpr (D::info.stochastic && T == Dtype::bf16)
    if (transform) return stochastic ? launch<D, T, true, true> : launch<D, T, false, true>;
  if constexpr (D::info.stochastic)
    if (stochastic) return launch<D, T, true, false>;
  return transform ? nullptr : launch<D, T, false, false>;
}

template <class D>
Launch launch_of(Dtype dtype, bool stochastic, bool transform) {
  return dtype == Dtype::bf16   ? launch_of<D, Dtype::bf16>(stochastic, transform)
         : dtype == Dtype::fp16 ? launch_of<D, Dtype::fp16>(stochastic, transform)
                                : nullptr;
}

constexpr auto launches =
    Fast::table([]<class D>(D) -> Launch (*)(Dtype, bool, bool) { return launch_of<D>; });

void require(bool holds, const std::string& what) {
  if (!holds) throw std::invalid_argument("row-wise and column-wise in one pass: expected " + what);
}

}  // namespace

void quantize_both(MatrixView x, const Direction& rows, const Direction& columns, ScaleLayout layout,
                   std::optional<std::uint32_t> sign_mask, Stream stream) {
  const QuantizeSpec& spec = rows.spec;
  const Both t{
      .x = static_cast<const std::uint16_t*>(x.data),
      .rows = x.rows,
      .cols = x.cols,
      .aligned = x.cols % 8 == 0 && reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0,
      .squares = spec.block.rows == 16,
      .sign_mask = sign_mask.value_or(0),
      .row = output(x.rows, x.cols, x.dtype, spec, rows.amax, rows.parts, layout, stream),
      .column = output(x.cols, x.rows, x.dtype, columns.spec, columns.amax, columns.parts, layout, stream)};
  const auto found = std::ranges::find(Fast::infos, spec.dialect);
  require(found != Fast::infos.end(), "dialect te, te_rht_fused or te_4over6");
  require(spec.dialect == columns.spec.dialect && spec.block == columns.spec.block &&
              spec.stochastic.has_value() == columns.spec.stochastic.has_value() && !t.row.per_row &&
              !t.column.per_row,
          "one dialect, block shape and rounding, and one amax for each direction");
  require(!t.squares || (!spec.dialect->four_over_six && !sign_mask),
          "1x16 blocks for four-over-six and for a transform");
  require(!sign_mask || x.rows % 16 == 0, "rows in multiples of 16 for a transform");
  const Launch launch = launches[static_cast<std::size_t>(found - Fast::infos.begin())](
      x.dtype, spec.stochastic.has_value(), sign_mask.has_value());
  require(launch, "BF16 or FP16, and BF16 and te or te_rht_fused for a transform");
  launch(t, stream);
}

}  // namespace nvfp4::gpu
