#pragma once
#include <cstdint>

#include "mma_bf16.cuh"

/// The transform of 16 as one mma.m16n8k16 of BF16 for each eight of its outputs.
namespace nvfp4::gpu {

/// diag(sign) H / 4 as the B operands of a lane: outputs 0 to 7, then 8 to 15. Register r of an operand has the factors
/// of inputs k = 2 (lane % 4) + 8 r and k + 1 for output lane / 4.
struct SignedHadamard {
  FragmentB b[2];

  __device__ explicit SignedHadamard(std::uint32_t sign_mask) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const auto factor = [&](int k, int j) -> std::uint32_t {
      return 0x3E80u | (((sign_mask >> k) ^ __popc(k & j)) & 1) << 15;  // BF16 of 1/4
    };
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int k = 2 * (lane % 4) + 8 * r, j = lane / 4 + 8 * half;
        b[half][r] = factor(k, j) | factor(k + 1, j) << 16;
      }
  }

  /// y = a x B for 16 rows of 16 inputs, in the fragments of PTX.
  __device__ void multiply(const FragmentA& a, int half, FragmentC& y) const {
    mma(y, a, b[half], {0, 0, 0, 0});
  }
};

}  // namespace nvfp4::gpu
