#include "tetrajet.hpp"

#include "check.hpp"
#include "tetrajet.cuh"

namespace nvfp4::gpu {
namespace {

constexpr int threads = 128;

/// A thread a block of 16; eight neighbours share a scale.
template <class D>
__global__ void double_blocks(const QuantizeTask t) {
  const std::int64_t n = std::int64_t{blockIdx.x} * threads + threadIdx.x,
                     in_row = t.scales_per_row * blocks_of_double, row = n / in_row, b = n % in_row;
  std::uint32_t largest = amax_bits<D>(t, row, b);
  for (int apart = blocks_of_double / 2; apart > 0; apart /= 2)
    largest = max(largest, __shfl_xor_sync(0xFFFFFFFF, largest, apart));
  quantize_in_double_block<D>(t, row, b, largest);
}

}  // namespace

void quantize_double_blocks(MatrixView x, bool transposed, const QuantizeSpec& spec, const TensorParts& out,
                            Stream stream) {
  with_dialect_of(TetrajetDialects{}, *spec.dialect, [&]<class D>(D) {
    QuantizeTask t = task_of(x, transposed, spec);
    t.out = out;
    const std::int64_t count = t.x.rows * t.scales_per_row * blocks_of_double;
    if (count == 0) return;
    double_blocks<D><<<static_cast<unsigned>((count + threads - 1) / threads), threads, 0, stream>>>(t);
    check_launch("quantize_double_blocks");
  });
}

}  // namespace nvfp4::gpu
