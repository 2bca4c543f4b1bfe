#include "quantize_both.hpp"

#include <algorithm>
#include <cstddef>
#include <new>
#include <stdexcept>
#include <string>

#include "check.hpp"
#include "device.hpp"
#include "output.cuh"
#include "quantize_rows.hpp"
#include "tile.cuh"

namespace nvfp4::gpu {
namespace {

using Fast = DialectList<dialects::te, dialects::te_rht_fused, dialects::te_4over6>;

/// What all kernels of one launch know.
struct Both {
  const void* x;
  std::int64_t rows, cols;
  bool aligned;  ///< every row starts at a multiple of 16 bytes
  std::uint32_t sign_mask;
  Output row, column;
  unsigned across, down;  ///< tiles

  struct Place {
    std::uint32_t row, col;
  };

  /// Of tile n, four of them below each other first: their column scales fill sectors of 32 bytes.
  __device__ Place place(unsigned n) const {
    const unsigned band = n / (4 * across), in_band = n % (4 * across), height = min(4, down - 4 * band);
    return {(4 * band + in_band % height) * Tile::side, in_band / height * Tile::side};
  }
};

/// Which kernel. 16x16 blocks are not transformed.
template <Dtype of, bool are_squares, bool is_stochastic, bool is_transformed>
struct Kind {
  static constexpr Dtype dtype = of;
  static constexpr bool squares = are_squares, stochastic = is_stochastic, transform = is_transformed;
};

/// Of one direction of a tile, from its first row and block on: multiples of 128 and 8.
template <class D>
struct Quantizer {
  using Tensor = decltype(D::tensor(Number(0), Setting{}));
  const Output& out;
  const Tensor& tensor;
  const Encodes<D>& encodes;
  std::uint32_t row, block;
  uint2* codes;
  std::uint8_t* scales;

  __device__ Quantizer(const Output& out, const Tensor& tensor, const Encodes<D>& encodes, std::uint32_t row,
                       std::uint32_t block)
      : out(out), tensor(tensor), encodes(encodes), row(row), block(block) {
    const std::uint64_t at = std::uint64_t{row} * out.blocks + block;
    codes = reinterpret_cast<uint2*>(out.parts.codes) + at;
    scales = out.parts.scales + (out.tiles ? tiled_scale(row, block, out.tiles) : at);
  }

  template <class K>
  __device__ void put(const Sixteen<K::dtype>& x, const Largest& largest, std::uint32_t r,
                      std::uint32_t b) const {
    if (row + r >= out.rows || block + b >= out.blocks) return;
    QuantizedBlock quantized =
        quantize_block<D, K::dtype, K::stochastic>(x, largest, tensor, encodes, row + r, block + b, out);
    if (block + b == out.blocks - 1) quantized.codes = out.without_padding(quantized.codes);
    const std::uint64_t at = std::uint64_t{r} * out.blocks + b;
    codes[at] = quantized.codes;
    scales[out.tiles ? b / 4 * 512 + r % 32 * 16 + r / 32 * 4 + b % 4 : at] =
        static_cast<std::uint8_t>(quantized.scale);
  }
};

/// A warp takes four rows of eight blocks at a time, in an order that leaves a chunk's turn in its row as it is; of
/// 16x16 blocks, the four times four rows that share scales.
template <class D, class K>
__device__ void quantize_tile_rows(const Tile& tile, const Quantizer<D>& to) {
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, b = lane % 8;
  const auto row = [&](unsigned i) {
    return K::squares ? lane / 8 | i * 4 | warp * 16
                      : lane / 8 | warp % 2 * 4 | i % 2 * 8 | warp / 2 * 16 | i / 2 * 64;
  };
  float shared = 0;
  if constexpr (K::squares) {
    for (unsigned i = 0; i < 4; ++i)
      shared = larger_or_nan(shared, largest_of<D>(tile.row_block<K::dtype>(row(i), b)).amax);
    shared = largest_of_lanes<8, 16>(shared);
  }
#pragma unroll 1
  for (unsigned i = 0; i < 4; ++i) {
    const Sixteen<K::dtype> x = tile.row_block<K::dtype>(row(i), b);
    Largest largest = largest_of<D>(x);
    if constexpr (K::squares) largest.amax = shared;
    to.template put<K>(x, largest, row(i), b);
  }
}

/// A warp takes four blocks of 16 features at a time, eight and then eight.
template <class D, class K>
__device__ void quantize_tile_columns(Tile& tile, const Quantizer<D>& to, const SignedHadamard& hadamard) {
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll 1
  for (unsigned half = 0; half < 2; ++half) {
    Sixteen<K::dtype> x[2];
    Largest largest[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if constexpr (K::transform)
        x[i] = tile.transformed_block(64 * half, 2 * warp + i, hadamard);
      else
        x[i] = tile.column_block<K::dtype>(64 * half, 2 * warp + i);
      largest[i] = largest_of<D>(x[i]);
    }
    if constexpr (K::squares)
      largest[0].amax = largest[1].amax =
          largest_of_lanes<4, 8, 16>(larger_or_nan(largest[0].amax, largest[1].amax));
#pragma unroll
    for (int i = 0; i < 2; ++i)
      to.template put<K>(x[i], largest[i], 8 * (2 * warp + i) + lane / 4, 4 * half + lane % 4);
  }
}

/// What was read last for an amax is read first: some of it is still in L2.
template <class D, class K>
__global__ void __launch_bounds__(Tile::threads, 4) both_kernel(const __grid_constant__ Both t) {
  using Tensor = typename Quantizer<D>::Tensor;
  __shared__ Tile tile;
  __shared__ Encodes<D> encodes[2];
  __shared__ alignas(Tensor) std::byte room[2][sizeof(Tensor)];
  const unsigned n = gridDim.x - 1 - blockIdx.x;
  const auto [row0, col0] = t.place(n);
  tile.fill(static_cast<const std::uint16_t*>(t.x), row0, col0, t.rows, t.cols, t.aligned);
  const int direction = static_cast<int>(threadIdx.x / 128);
  if (const Output& out = direction == 0 ? t.row : t.column; out.parts.codes) {
    const Tensor tensor = out.tensor<D>(0);
    encodes[direction].fill(tensor, static_cast<int>(threadIdx.x % 128));
    if (threadIdx.x % 128 == 0) new (room[direction]) Tensor(tensor);
    if (threadIdx.x % 128 == 0 && n == 0) put_global<D>(out, 0);
  }
  Tile::wait();
  __syncthreads();
  const auto tensor = [&](int of) -> const Tensor& { return *reinterpret_cast<const Tensor*>(room[of]); };
  if (t.row.parts.codes)
    quantize_tile_rows<D, K>(tile, Quantizer<D>(t.row, tensor(0), encodes[0], row0, col0 / 16));
  if (K::transform) __syncthreads();  // rows are read before columns are written in their place
  if (t.column.parts.codes)
    quantize_tile_columns<D, K>(tile, Quantizer<D>(t.column, tensor(1), encodes[1], col0, row0 / 16),
                                SignedHadamard(K::transform ? t.sign_mask : 0));
}

/// FP32 columns, a thread for 16 tokens of a feature: lanes lie along a row, warps below each other.
template <class D, bool squares, bool stochastic>
__global__ void __launch_bounds__(Tile::threads)
    columns_kernel(const std::uint32_t* x, const __grid_constant__ Output out) {
  __shared__ Encodes<D> encodes;
  const auto tensor = out.tensor<D>(0);
  if (threadIdx.x < 128) encodes.fill(tensor, static_cast<int>(threadIdx.x));
  __syncthreads();
  const std::int64_t across = (out.rows + 31) / 32;
  const std::int64_t feature = blockIdx.x % across * 32 + threadIdx.x % 32;
  const std::int64_t block = blockIdx.x / across * (Tile::threads / 32) + threadIdx.x / 32;
  if (blockIdx.x == 0 && threadIdx.x == 0) put_global<D>(out, 0);
  Sixteen<Dtype::fp32> elements;
#pragma unroll
  for (int j = 0; j < 16; ++j) {
    const std::int64_t token = 16 * block + j;
    elements.word[j] = token < out.cols && feature < out.rows ? x[token * out.rows + feature] : 0;
  }
  Largest largest = largest_of<D>(elements);
  if constexpr (squares) largest.amax = largest_of_lanes<1, 2, 4, 8>(largest.amax);
  if (feature >= out.rows || block >= out.blocks) return;
  const auto r = static_cast<std::uint32_t>(feature), b = static_cast<std::uint32_t>(block);
  out.put(r, b, quantize_block<D, Dtype::fp32, stochastic>(elements, largest, tensor, encodes, r, b, out));
}

template <class D, class K>
void launch(const Both& t, Stream stream) {
  both_kernel<D, K><<<t.across * t.down, Tile::threads, 0, stream>>>(t);
  check_launch("both_kernel");
}

using Launch = void (*)(const Both&, Stream);

template <class D, bool squares, bool stochastic>
void launch_columns(const Both& t, Stream stream) {
  if (!t.column.parts.codes) return;
  constexpr int warps = Tile::threads / 32;
  const std::int64_t grid = (t.cols + 31) / 32 * ((t.column.blocks + warps - 1) / warps);
  columns_kernel<D, squares, stochastic><<<static_cast<unsigned>(grid), Tile::threads, 0, stream>>>(
      static_cast<const std::uint32_t*>(t.x), t.column);
  check_launch("columns_kernel");
}

template <class D>
Launch launch_of_columns(bool squares, bool stochastic) {
  if constexpr (D::info.stochastic) {
    if (squares) return stochastic ? launch_columns<D, true, true> : launch_columns<D, true, false>;
    if (stochastic) return launch_columns<D, false, true>;
  }
  return squares ? nullptr : launch_columns<D, false, false>;
}

/// Null where there is no such kernel.
template <class D, Dtype T>
Launch launch_of(bool squares, bool stochastic, bool transform) {
  if constexpr (D::info.stochastic) {
    if (transform && T == Dtype::bf16)
      return stochastic ? launch<D, Kind<Dtype::bf16, false, true, true>>
                        : launch<D, Kind<Dtype::bf16, false, false, true>>;
    if (transform) return nullptr;
    if (squares)
      return stochastic ? launch<D, Kind<T, true, true, false>> : launch<D, Kind<T, true, false, false>>;
    if (stochastic) return launch<D, Kind<T, false, true, false>>;
  }
  return squares || transform ? nullptr : launch<D, Kind<T, false, false, false>>;
}

template <class D>
Launch launch_of(Dtype dtype, bool squares, bool stochastic, bool transform) {
  return dtype == Dtype::bf16   ? launch_of<D, Dtype::bf16>(squares, stochastic, transform)
         : dtype == Dtype::fp16 ? launch_of<D, Dtype::fp16>(squares, stochastic, transform)
         : transform            ? nullptr
                                : launch_of_columns<D>(squares, stochastic);
}

constexpr auto launches =
    Fast::table([]<class D>(D) -> Launch (*)(Dtype, bool, bool, bool) { return launch_of<D>; });

void require(bool holds, const std::string& what) {
  if (!holds) throw std::invalid_argument("row-wise and column-wise in one pass: expected " + what);
}

Launch launch_for(MatrixView x, const QuantizeSpec& rows, const QuantizeSpec& columns, bool transform) {
  validate(rows);
  validate(columns);
  const auto found = std::ranges::find(Fast::infos, rows.dialect);
  require(found != Fast::infos.end(), "dialect te, te_rht_fused or te_4over6");
  require(rows.dialect == columns.dialect && rows.block == columns.block &&
              rows.stochastic.has_value() == columns.stochastic.has_value() &&
              rows.tensor_scale == TensorScale::tensor && columns.tensor_scale == TensorScale::tensor,
          "one dialect, block shape and rounding, and one amax for each direction");
  const bool squares = rows.block.rows == 16;
  require(!transform || (x.rows % 16 == 0 && !squares),
          "1x16 blocks and rows in multiples of 16 for a transform");
  const Launch launch = launches[static_cast<std::size_t>(found - Fast::infos.begin())](
      x.dtype, squares, rows.stochastic.has_value(), transform);
  require(launch, "for a transform BF16 and te or te_rht_fused, and 1x16 blocks for te_4over6");
  return launch;
}

}  // namespace

void quantize_both(MatrixView x, const Direction& rows, const Direction& columns, ScaleLayout layout,
                   std::optional<std::uint32_t> sign_mask, Stream stream) {
  const Launch launch = launch_for(x, rows.spec, columns.spec, sign_mask.has_value());
  if (sign_mask) require_tensor_core_sum();
  const Both t{
      .x = x.data,
      .rows = x.rows,
      .cols = x.cols,
      .aligned = x.cols % 8 == 0 && reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0,
      .sign_mask = sign_mask.value_or(0),
      .row = output(x.rows, x.cols, x.dtype, rows.spec, rows.amax, rows.parts, layout, stream),
      .column = output(x.cols, x.rows, x.dtype, columns.spec, columns.amax, columns.parts, layout, stream),
      .across = static_cast<unsigned>((x.cols + Tile::side - 1) / Tile::side),
      .down = static_cast<unsigned>((x.rows + Tile::side - 1) / Tile::side)};
  if (x.dtype == Dtype::fp32 && rows.parts.codes)
    quantize_rows(x, rows.spec, rows.amax, rows.parts, layout, stream);
  launch(t, stream);
}

}  // namespace nvfp4::gpu
