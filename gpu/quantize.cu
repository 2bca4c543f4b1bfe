#include "quantize.hpp"

#include "check.hpp"
#include "quantize_block.cuh"

namespace nvfp4::gpu {
namespace {

constexpr int threads = 128;

template <class D>
__global__ void quantize_blocks(const QuantizeTask t, std::int64_t blocks) {
  const std::int64_t n = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (n < blocks) quantize_block<D>(t, n);
}

/// What the dialect keeps of each second level.
template <class D>
__global__ void keep_global(const QuantizeTask t, std::int64_t count) {
  const std::int64_t n = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if constexpr (D::info.global_is != GlobalIs::none)
    if (n < count) t.out.global[n] = kept_global<D>(t, n);
}

template <class D>
__global__ void dequantize_elements(const QuantizeTask t, std::int64_t elements, float* out) {
  const std::int64_t n = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (n < elements) out[n] = dequantized<D>(t, n / t.x.cols, n % t.x.cols);
}

/// One thread for 16 elements of a row: `spans` of them a row.
__global__ void amax_of_spans(const QuantizeTask t, std::int64_t spans, bool nan_poisons,
                              std::uint32_t* amaxes) {
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
  void (*quantize)(const QuantizeTask, std::int64_t);
  void (*keep_global)(const QuantizeTask, std::int64_t);
  void (*dequantize)(const QuantizeTask, std::int64_t, float*);
};

const Kernel& kernel_of(const Dialect& dialect) {
  static const auto kernels = Dialects::table([]<class D>(D) {
    return Kernel{quantize_blocks<D>, keep_global<D>, dequantize_elements<D>};
  });
  return kernels[index_of(dialect)];
}

unsigned grid(std::int64_t count) { return static_cast<unsigned>((count + threads - 1) / threads); }

/// `count` amaxes, of what shares a second-level scale by the task.
void reduce(const QuantizeTask& t, std::int64_t count, bool nan_poisons, float* amaxes, Stream stream) {
  const std::int64_t spans = (t.x.cols + 15) / 16;
  check(cudaMemsetAsync(amaxes, 0, static_cast<std::size_t>(count) * sizeof(float), stream), "amax");
  if (t.x.rows * spans == 0) return;
  amax_of_spans<<<grid(t.x.rows * spans), threads, 0, stream>>>(t, spans, nan_poisons,
                                                                reinterpret_cast<std::uint32_t*>(amaxes));
  check_launch("amax");
}

}  // namespace

std::int64_t scale_count(const QuantizeSpec& spec, std::int64_t rows, std::int64_t cols) {
  const BlockScaledTensor shape{.spec = spec, .rows = rows, .cols = cols};
  return spec.tensor_scale == TensorScale::row ? rows * shape.globals_per_row() : 1;
}

void amax(MatrixView x, bool nan_poisons, float* largest, Stream stream) {
  QuantizeTask whole{};
  whole.x = elements(x, false);
  reduce(whole, 1, nan_poisons, largest, stream);
}

void amaxes(MatrixView x, bool transposed, const QuantizeSpec& spec, float* amaxes, Stream stream) {
  const QuantizeTask t = task_of(x, transposed, spec);
  reduce(t, scale_count(spec, t.x.rows, t.x.cols), spec.dialect->nan_in_tensor_amax, amaxes, stream);
}

void quantize(MatrixView x, bool transposed, const QuantizeSpec& spec, const float* amaxes,
              const TensorParts& out, Stream stream) {
  QuantizeTask t = task_of(x, transposed, spec);
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
  QuantizeTask t = task_of({nullptr, rows, cols, made_from}, false, spec);
  t.out = parts;
  if (rows * cols == 0) return;
  kernel_of(*spec.dialect).dequantize<<<grid(rows * cols), threads, 0, stream>>>(t, rows * cols, out);
  check_launch("dequantize");
}

}  // namespace nvfp4::gpu
