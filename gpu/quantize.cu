#include "quantize.hpp"

#include <algorithm>

#include <nvfp4/dialects/all.hpp>

#include "check.hpp"
#include "elements.cuh"
#include "number.cuh"

namespace nvfp4::gpu {
namespace {

constexpr int threads = 128;

/// What the kernels know of a tensor.
struct Task {
  Elements x;
  Setting setting;
  const float* amaxes;
  std::int64_t outer;  ///< columns that share a second-level scale; 0: all the tensor's do
  std::int64_t scales_per_row;
  TensorParts out;
  std::int64_t row_bytes, blocks_per_row;
  bool is_stochastic;
  Stochastic stochastic;

  __device__ std::int64_t scale_of(std::int64_t row, std::int64_t col) const {
    return outer ? row * scales_per_row + col / outer : 0;
  }
};

/// A block: rows x cols elements of the tensor, of which the edge may cut some.
struct Block {
  const Elements& x;
  std::int64_t row, col;
  int rows, cols;
  __device__ Number operator()(int r, int j) const {
    return row + r < x.rows && col + j < x.cols ? Number(x.at(row + r, col + j)) : Number(0);
  }
};

__device__ Number amax_of(const Block& block, bool nan_poisons) {
  Number largest(0);
#pragma unroll 1
  for (int r = 0; r < block.rows; ++r)
#pragma unroll 1
    for (int j = 0; j < block.cols; ++j) {
      const Number magnitude = abs(block(r, j));
      if (nan_poisons && is_nan(magnitude)) return default_nan();
      if (largest < magnitude) largest = magnitude;
    }
  return largest;
}

template <class D, class Tensor>
__device__ BlockScale<Number> block_scale(const Block& block, const Tensor& tensor) {
  const Number largest = amax_of(block, D::info.nan_in_block_amax);
  if constexpr (requires { D::block(largest, tensor, block); })
    return D::block(largest, tensor, block);
  else
    return D::block(largest, tensor);
}

__device__ std::uint32_t random_word(const Task& t, std::int64_t row, std::int64_t col) {
  const Stochastic& s = t.stochastic;
  if (s.from_caller) return s.words.data()[row * ((t.x.cols + 15) / 16 * 4) + col / 4];
  return draw(s.random, row, col / 16)[static_cast<std::size_t>(col % 16 / 4)];
}

template <class D, class Tensor>
__device__ std::uint32_t element(const Task& t, std::int64_t row, std::int64_t col, Number encode,
                                 const Tensor& tensor) {
  if (col >= t.x.cols) return 0;
  const Number x(t.x.at(row, col));
  if constexpr (D::info.stochastic)
    if (t.is_stochastic) {
      const std::uint32_t word = random_word(t, row, col);
      const Code random(word >> (8 * byte_of(t.stochastic.map, static_cast<int>(col % 4))) & 0xFF);
      return e2m1_stochastic(D::scaled(x, encode, tensor), random, t.stochastic.rule).bits;
    }
  return D::element(x, encode, tensor).bits;
}

/// The codes of a block's row.
template <class D, class Tensor>
__device__ void put_row(const Task& t, std::int64_t row, std::int64_t col, Number encode,
                        const Tensor& tensor) {
  constexpr int per_byte = D::info.element == Format::e2m1 ? 2 : 1;
  std::uint8_t* codes = t.out.codes + row * t.row_bytes + col / per_byte;
#pragma unroll 1  // here and above: 54 dialects of these are enough code
  for (int j = 0; j < D::info.block_cols; j += per_byte) {
    std::uint32_t byte = element<D>(t, row, col + j, encode, tensor);
    if constexpr (per_byte == 2) byte |= element<D>(t, row, col + j + 1, encode, tensor) << 4;
    codes[j / per_byte] = static_cast<std::uint8_t>(byte);
  }
}

template <class D>
__global__ void quantize_blocks(const Task t, std::int64_t blocks) {
  const std::int64_t n = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (n >= blocks) return;
  const int rows = t.setting.block.rows;
  const std::int64_t at = n % t.blocks_per_row;
  const Block block{t.x, n / t.blocks_per_row * rows, at * D::info.block_cols, rows, D::info.block_cols};
  const auto tensor = D::tensor(Number(t.amaxes[t.scale_of(block.row, block.col)]), t.setting);
  const BlockScale<Number> scale = block_scale<D>(block, tensor);
  for (std::int64_t row = block.row; row < block.row + rows && row < t.x.rows; ++row) {
    t.out.scales[row * t.blocks_per_row + at] = static_cast<std::uint8_t>(scale.code.bits);
    put_row<D>(t, row, block.col, scale.encode, tensor);
  }
}

/// What the dialect keeps of each second level.
template <class D>
__global__ void keep_global(const Task t, std::int64_t count) {
  const std::int64_t n = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (n >= count) return;
  if constexpr (D::info.global_is != GlobalIs::none) {
    const Number kept = D::tensor(Number(t.amaxes[n]), t.setting).global;
    t.out.global[n] = is_nan(kept) ? default_nan().value : kept.value;
  }
}

template <class D>
__global__ void dequantize_elements(const Task t, std::int64_t elements, float* out) {
  const std::int64_t n = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (n >= elements) return;
  const std::int64_t row = n / t.x.cols, col = n % t.x.cols;
  const bool two_a_byte = D::info.element == Format::e2m1;
  const std::uint32_t byte = t.out.codes[row * t.row_bytes + (two_a_byte ? col / 2 : col)];
  const std::uint32_t scale = t.out.scales[row * t.blocks_per_row + col / D::info.block_cols];
  const Number element =
      two_a_byte ? Number::e2m1_value(Code(byte >> (col % 2 * 4) & 15)) : signed_e4m3_value(byte);
  const Number value = D::dequantize(
      element, D::info.scale == Format::e8m0 ? e8m0_value(scale) : signed_e4m3_value(scale),
      Number(D::info.global_is == GlobalIs::none ? 1 : t.out.global[t.scale_of(row, col)]), t.setting);
  out[n] = is_nan(value) ? default_nan().value : value.value;
}

/// One thread for 16 elements of a row: `spans` of them a row.
__global__ void amax_of_spans(const Task t, std::int64_t spans, bool nan_poisons, std::uint32_t* amaxes) {
  const std::int64_t n = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  std::uint32_t largest = 0;
  std::int64_t shared = 0;
  if (n < spans * t.x.rows) {
    const std::int64_t row = n / spans, col = n % spans * 16;
    largest = bits_of(amax_of(Block{t.x, row, col, 1, 16}, nan_poisons).value);  // NaN's bits are the largest
    shared = t.scale_of(row, col);
  }
  if (t.outer == 0) {
    largest = __reduce_max_sync(0xFFFFFFFF, largest);
    if (threadIdx.x % 32 == 0) atomicMax(amaxes, largest);
  } else if (largest > amaxes[shared]) {
    atomicMax(amaxes + shared, largest);
  }
}

struct Kernel {
  void (*quantize)(const Task, std::int64_t);
  void (*keep_global)(const Task, std::int64_t);
  void (*dequantize)(const Task, std::int64_t, float*);
};

const Kernel& kernel_of(const Dialect& dialect) {
  static const auto kernels = Dialects::table([]<class D>(D) {
    return Kernel{quantize_blocks<D>, keep_global<D>, dequantize_elements<D>};
  });
  return kernels[index_of(dialect)];
}

unsigned grid(std::int64_t count) { return static_cast<unsigned>((count + threads - 1) / threads); }

/// Without amaxes and output.
Task task_of(MatrixView x, bool transposed, const QuantizeSpec& spec) {
  validate(spec);
  const BlockScaledTensor shape{
      .spec = spec, .rows = transposed ? x.cols : x.rows, .cols = transposed ? x.rows : x.cols};
  const bool per_row = spec.tensor_scale == TensorScale::row;
  return {
      .x = elements(x, transposed),
      .setting = setting(spec, x.dtype),
      .amaxes = nullptr,
      .outer = !per_row                   ? 0
               : spec.dialect->outer_cols ? spec.dialect->outer_cols
                                          : shape.cols,
      .scales_per_row = shape.globals_per_row(),
      .out = {},
      .row_bytes = shape.row_bytes(),
      .blocks_per_row = shape.blocks_per_row(),
      .is_stochastic = spec.stochastic.has_value(),
      .stochastic = spec.stochastic.value_or(Stochastic{}),
  };
}

}  // namespace

std::int64_t scale_count(const QuantizeSpec& spec, std::int64_t rows, std::int64_t cols) {
  const BlockScaledTensor shape{.spec = spec, .rows = rows, .cols = cols};
  return spec.tensor_scale == TensorScale::row ? rows * shape.globals_per_row() : 1;
}

void amax(MatrixView x, bool transposed, const QuantizeSpec& spec, float* amaxes, Stream stream) {
  const Task t = task_of(x, transposed, spec);
  const std::int64_t count = scale_count(spec, t.x.rows, t.x.cols), spans = (t.x.cols + 15) / 16;
  check(cudaMemsetAsync(amaxes, 0, static_cast<std::size_t>(count) * sizeof(float), stream), "amax");
  if (t.x.rows * spans == 0) return;
  amax_of_spans<<<grid(t.x.rows * spans), threads, 0, stream>>>(t, spans, spec.dialect->nan_in_tensor_amax,
                                                                reinterpret_cast<std::uint32_t*>(amaxes));
  check_launch("amax");
}

void quantize(MatrixView x, bool transposed, const QuantizeSpec& spec, const float* amaxes,
              const TensorParts& out, Stream stream) {
  Task t = task_of(x, transposed, spec);
  t.amaxes = amaxes;
  t.out = out;
  const Kernel& kernel = kernel_of(*spec.dialect);
  if (const std::int64_t count = scale_count(spec, t.x.rows, t.x.cols);
      spec.dialect->global_is != GlobalIs::none && count) {
    kernel.keep_global<<<grid(count), threads, 0, stream>>>(t, count);
    check_launch("keep_global");
  }
  const std::int64_t blocks = (t.x.rows + spec.block.rows - 1) / spec.block.rows * t.blocks_per_row;
  if (blocks == 0) return;
  kernel.quantize<<<grid(blocks), threads, 0, stream>>>(t, blocks);
  check_launch("quantize");
}

void dequantize(const TensorParts& parts, std::int64_t rows, std::int64_t cols, const QuantizeSpec& spec,
                Dtype made_from, float* out, Stream stream) {
  Task t = task_of({nullptr, rows, cols, made_from}, false, spec);
  t.out = parts;
  if (rows * cols == 0) return;
  kernel_of(*spec.dialect).dequantize<<<grid(rows * cols), threads, 0, stream>>>(t, rows * cols, out);
  check_launch("dequantize");
}

}  // namespace nvfp4::gpu
