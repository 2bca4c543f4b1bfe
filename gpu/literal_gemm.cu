#include <algorithm>
#include <stdexcept>

#include "check.hpp"
#include "group_step.cuh"
#include "literal_gemm.hpp"

namespace nvfp4::gpu {
namespace {

__device__ Group group_at(const CodedOperand& a, std::int64_t i, const CodedOperand& b, std::int64_t j,
                          std::int64_t block) {
  const std::int64_t blocks = (a.k + group_k - 1) / group_k;
  if (block >= blocks) return {0, zero_exponent, false};
  const std::int64_t at_a = i * blocks + block, at_b = j * blocks + block;
  const std::uint64_t mask = codes_mask(a.k, block);
  return group_of(reinterpret_cast<const std::uint64_t*>(a.codes)[at_a] & mask, a.scales[at_a],
                  reinterpret_cast<const std::uint64_t*>(b.codes)[at_b] & mask, b.scales[at_b]);
}

__global__ void literal_kernel(CodedOperand a, CodedOperand b, float* out) {
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t n = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; n < a.rows * b.rows;
       n += stride) {
    std::uint32_t c = 0;
    for (std::int64_t t = 0; t < steps_of(a.k); ++t) {
      Group groups[groups_of_step];
      for (int g = 0; g < groups_of_step; ++g)
        groups[g] = group_at(a, n / b.rows, b, n % b.rows, groups_of_step * t + g);
      c = group_step(c, groups);
    }
    out[n] = __uint_as_float(c);
  }
}

}  // namespace

void literal_gemm(const CodedOperand& a, const CodedOperand& b, float* accumulators, Stream stream) {
  if (a.rows < 1 || b.rows < 1 || a.k < 1 || a.k != b.k)
    throw std::invalid_argument("literal_gemm: sizes must be 1 or more, and both operands of one k");
  const std::int64_t blocks = std::min<std::int64_t>((a.rows * b.rows + 127) / 128, 1 << 20);
  literal_kernel<<<static_cast<unsigned>(blocks), 128, 0, stream>>>(a, b, accumulators);
  check_launch("literal_gemm");
}

}  // namespace nvfp4::gpu
