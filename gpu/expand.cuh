#pragma once
#include <bit>
#include <cstdint>

#include "group_step.cuh"
#include "step_class.cuh"

namespace nvfp4::gpu {

/// 16 BF16 values, the even one of a pair in the low half.
struct Folded {
  std::uint32_t pairs[8];
};

/// element * scale * 2^-14. An E2M1 code's bits, moved to FP32's exponent and fraction, are the element * 2^-126, and
/// those of UE4M3 the scale * 2^-120; at most 8 bits of the product are significant, so its upper half is all of it.
NVFP4_HOST_DEVICE inline Folded fold(std::uint64_t codes, unsigned scale) {
  const float factor = is_nan_scale(scale) ? std::bit_cast<float>(nan_code)
                                           : std::bit_cast<float>((scale & 0x7F) << 20) * 0x1p120f * 0x1p112f;
  Folded out;
  NVFP4_UNROLL
  for (int pair = 0; pair < 8; ++pair) {
    std::uint32_t bits[2];
    for (int i = 0; i < 2; ++i) {
      const auto code = static_cast<std::uint32_t>(codes >> (8 * pair + 4 * i) & 15);
      const float product = std::bit_cast<float>((code & 7) << 22 | (code & 8) << 28) * factor;
      bits[i] = is_nan_scale(scale) ? nan_code : std::bit_cast<std::uint32_t>(product);
    }
    out.pairs[pair] = bits[0] >> 16 | (bits[1] & 0xFFFF0000);
  }
  return out;
}

/// Twice the magnitudes of the four codes in the lower half of x, a byte each.
NVFP4_HOST_DEVICE inline std::uint32_t doubled_bytes(std::uint32_t x) {
#ifdef __CUDA_ARCH__
  return __byte_perm(0x03020100, 0x0C080604, x & 0x7777);
#else
  std::uint32_t bytes = 0;
  for (int i = 0; i < 4; ++i) bytes |= static_cast<std::uint32_t>(doubled(x >> 4 * i & 7)) << 8 * i;
  return bytes;
#endif
}

/// The sum of squares of four bytes.
NVFP4_HOST_DEVICE inline int squares_of(std::uint32_t bytes) {
#ifdef __CUDA_ARCH__
  return __dp4a(static_cast<int>(bytes), static_cast<int>(bytes), 0);
#else
  int sum = 0;
  for (int i = 0; i < 4; ++i) sum += static_cast<int>((bytes >> 8 * i & 255) * (bytes >> 8 * i & 255));
  return sum;
#endif
}

/// Of one block of 16: `range` is the sum of squares, rounded up, infinite under a NaN scale.
NVFP4_HOST_DEVICE inline StepStats block_stats(std::uint64_t codes, unsigned scale) {
  if (is_nan_scale(scale)) return {std::bit_cast<float>(infinity_code), no_unit, no_top};
  const int significand = scale_significand(scale), exponent = scale_exponent(scale);
  int squares = 0;
  std::uint32_t bits = 0;
  NVFP4_UNROLL
  for (int k = 0; k < group_k; k += 4) {
    const std::uint32_t bytes = doubled_bytes(static_cast<std::uint32_t>(codes >> 4 * k & 0xFFFF));
    squares += squares_of(bytes);
    bits |= bytes;
  }
  bits = (bits | bits >> 8 | bits >> 16 | bits >> 24) & 15;
  if (bits == 0 || significand == 0) return {0, no_unit, no_top};
  // Twice an element times a significand is in units of 2^(exponent - 4).
  return {static_cast<float>(squares * significand * significand) * power_of_two(2 * (exponent - 4)),
          exponent - 4 + trailing_zeros(static_cast<int>(bits)) + trailing_zeros(significand), exponent};
}

}  // namespace nvfp4::gpu
