#include "quantize_both.hpp"

#include <algorithm>
#include <cstddef>
#include <new>
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
  std::uint32_t sign_mask;
  Output row, column;
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

/// A warp takes four rows of eight blocks at a time, in an order that leaves a chunk's turn in its row as it is. Of
/// 16x16 blocks it takes two side by side.
template <class D, class K>
__device__ void quantize_tile_rows(const Tile& tile, const Quantizer<D>& to) {
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll 1
  for (unsigned i = 0; i < 4; ++i) {
    const int r =
        K::squares ? warp * 16 + lane % 16 : lane / 8 + warp % 2 * 4 + i % 2 * 8 + warp / 2 * 16 + i / 2 * 64;
    const unsigned b = K::squares ? 2 * i + lane / 16 : lane % 8;
    const Sixteen<K::dtype> x = tile.row_block<K::dtype>(r, b);
    Largest largest = largest_of<D>(x);
    if constexpr (K::squares) largest.amax = largest_of_lanes<1, 2, 4, 8>(largest.amax);
    to.template put<K>(x, largest, r, b);
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
          largest_of_lanes<4, 8, 16>(float_of(max(bits_of(largest[0].amax), bits_of(largest[1].amax))));
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
  const std::int64_t across = (t.cols + Tile::side - 1) / Tile::side, n = gridDim.x - 1 - blockIdx.x;
  const auto row0 = static_cast<std::uint32_t>(n / across * Tile::side),
             col0 = static_cast<std::uint32_t>(n % across * Tile::side);
  tile.fill(t.x, row0, col0, t.rows, t.cols, t.aligned);
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

template <class D, class K>
void launch(const Both& t, Stream stream) {
  const std::int64_t tiles =
      (t.cols + Tile::side - 1) / Tile::side * ((t.rows + Tile::side - 1) / Tile::side);
  both_kernel<D, K><<<static_cast<unsigned>(tiles), Tile::threads, 0, stream>>>(t);
  check_launch("both_kernel");
}

using Launch = void (*)(const Both&, Stream);

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
                                : nullptr;
}

constexpr auto launches =
    Fast::table([]<class D>(D) -> Launch (*)(Dtype, bool, bool, bool) { return launch_of<D>; });

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
      .sign_mask = sign_mask.value_or(0),
      .row = output(x.rows, x.cols, x.dtype, spec, rows.amax, rows.parts, layout, stream),
      .column = output(x.cols, x.rows, x.dtype, columns.spec, columns.amax, columns.parts, layout, stream)};
  const auto found = std::ranges::find(Fast::infos, spec.dialect);
  require(found != Fast::infos.end(), "dialect te, te_rht_fused or te_4over6");
  require(spec.dialect == columns.spec.dialect && spec.block == columns.spec.block &&
              spec.stochastic.has_value() == columns.spec.stochastic.has_value() && !t.row.per_row &&
              !t.column.per_row,
          "one dialect, block shape and rounding, and one amax for each direction");
  const bool squares = spec.block.rows == 16;
  require(!sign_mask || (x.rows % 16 == 0 && !squares),
          "1x16 blocks and rows in multiples of 16 for a transform");
  const Launch launch = launches[static_cast<std::size_t>(found - Fast::infos.begin())](
      x.dtype, squares, spec.stochastic.has_value(), sign_mask.has_value());
  require(launch, "BF16 or FP16; for a transform BF16 and te or te_rht_fused; 1x16 blocks for te_4over6");
  launch(t, stream);
}

}  // namespace nvfp4::gpu
