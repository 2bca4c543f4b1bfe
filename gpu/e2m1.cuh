#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "host_device.hpp"

/// FP32 to E2M1 and E4M3 and back, one value or a few at a time: by the instructions of the targets that have them,
/// else in integers. Both give the same codes; `portable` is the second, for the host, too.
///
/// NVFP4_GPU_CVT_E2M1: cvt.rn.satfinite.e2m1x2.f32 (sm_100f, 103a, 120f). NVFP4_GPU_CVT_RS: cvt.rs of sm_100a and 103a.
#if defined(__CUDA_ARCH_FAMILY_SPECIFIC__) || defined(__CUDA_ARCH_SPECIFIC__)
#if __CUDA_ARCH__ >= 1000
#define NVFP4_GPU_CVT_E2M1 1
#endif
#if defined(__CUDA_ARCH_SPECIFIC__) && (__CUDA_ARCH__ == 1000 || __CUDA_ARCH__ == 1030)
#define NVFP4_GPU_CVT_RS 1
#endif
#endif

namespace nvfp4::gpu {

namespace portable {

NVFP4_HOST_DEVICE inline std::uint32_t pattern(float x) { return std::bit_cast<std::uint32_t>(x); }

NVFP4_HOST_DEVICE inline float fused(float a, float b, float c) {
#ifdef __CUDA_ARCH__
  return __fmaf_rn(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}

NVFP4_HOST_DEVICE inline std::uint32_t least(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
#ifdef __CUDA_ARCH__
  return __vimin3_u32(a, b, c);
#else
  return std::min({a, b, c});
#endif
}

/// The sign bit of a code; none for NaN, as PTX's conversions have it.
NVFP4_HOST_DEVICE inline std::uint32_t sign_code(float y) { return y != y ? 0 : pattern(y) >> 28 & 8; }

/// Codes by magnitude are three straight lines, 2a, a + 2 and a/2 + 4, of which the lowest holds. Each is rounded at
/// 2^23, where FP32's step is 1; a code is even where its value's significand is, so ties go where RNE has them.
/// 0x4B000000 + code, for 0 <= a; beyond 7 where a is 7 or more.
NVFP4_HOST_DEVICE inline std::uint32_t e2m1_line(float a) {
  return least(pattern(fused(a, 2, 0x1p23f)), pattern(a + 0x1.000004p23f),
               pattern(fused(a, 0.5f, 0x1.000008p23f)));
}

/// `bound` for NaN, a signalling one too, of which C's fmin does not say so.
NVFP4_HOST_DEVICE inline float at_most(float a, float bound) {
#ifdef __CUDA_ARCH__
  return fminf(a, bound);
#else
  return a < bound ? a : bound;
#endif
}

NVFP4_HOST_DEVICE inline std::uint32_t to_e2m1(float y) {
  return (e2m1_line(at_most(fabsf(y), 6)) & 7) | sign_code(y);
}

/// Above 2^-6 the pattern is rounded where it stands; below, E4M3's step of 2^-9 is FP32's at 2^14.
NVFP4_HOST_DEVICE inline std::uint32_t to_e4m3(float t) {
  if (t != t) return 0x7F;
  if (t < 0x1p-6f) return pattern(t + 0x1p14f) - pattern(0x1p14f);
  const std::uint32_t bits = pattern(at_most(t, 448));
  return ((bits + 0x7FFFF + (bits >> 20 & 1)) >> 20) - (120 << 3);
}

/// In 256ths of a code; the lines as above, each cut. a <= 6.
NVFP4_HOST_DEVICE inline std::uint32_t e2m1_cut_256ths(float a) {
  const auto low = static_cast<std::uint32_t>(a * 512);
  return least(low, (low >> 1) + 512, (low >> 2) + 1024);
}

/// SrRule::carry of 8 bits, `random` < 256.
NVFP4_HOST_DEVICE inline std::uint32_t to_e2m1_carry(float y, std::uint32_t random) {
  return (e2m1_cut_256ths(at_most(fabsf(y), 6)) + random) >> 8 | sign_code(y);
}

}  // namespace portable

/// SrRule::te_software, `random` < 256. No instruction does it.
NVFP4_HOST_DEVICE inline std::uint32_t to_e2m1_te_software(float y, std::uint32_t random) {
  const float a = fabsf(y);
  const float step_256th = a < 2 ? 0x1p-9f : a < 4 ? 0x1p-8f : 0x1p-7f;
  const float sum = portable::at_most(portable::fused(static_cast<float>(random), step_256th, a), 6);
  return portable::e2m1_cut_256ths(sum) >> 8 | portable::sign_code(y);
}

#ifdef NVFP4_GPU_CVT_E2M1
/// Two codes in a byte, `low` in the low nibble.
__device__ inline std::uint32_t cvt_e2m1x2(float low, float high) {
  std::uint32_t codes;
  asm("{ .reg .b8 b; .reg .b16 h; cvt.rn.satfinite.e2m1x2.f32 b, %1, %2; mov.b16 h, {b, 0}; cvt.u32.u16 %0, "
      "h; }"
      : "=r"(codes)
      : "f"(high), "f"(low));
  return codes;
}
#endif

/// The code of y with its sign, by RNE: -0 gives 8, what is beyond 6 gives 6, and NaN gives +6.
NVFP4_HOST_DEVICE inline std::uint32_t to_e2m1(float y) {
#ifdef NVFP4_GPU_CVT_E2M1
  return cvt_e2m1x2(y, 0) & 15;
#else
  return portable::to_e2m1(y);
#endif
}

/// The byte of t >= 0 by RNE: beyond 448 it is 448, NaN gives 0x7F.
NVFP4_HOST_DEVICE inline std::uint32_t to_e4m3(float t) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  std::uint16_t codes;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(0.f), "f"(t));
  return codes;
#else
  return portable::to_e4m3(t);
#endif
}

#ifdef NVFP4_GPU_CVT_RS
/// Four codes, y[0] lowest. y[0] to y[3] take bytes 0, 2, 1 and 3 of the word (ByteMap::hw).
__device__ inline std::uint32_t cvt_rs_e2m1x4(const float (&y)[4], std::uint32_t random) {
  std::uint16_t codes;
  asm("cvt.rs.satfinite.e2m1x4.f32 %0, {%4, %3, %2, %1}, %5;"
      : "=h"(codes)
      : "f"(y[0]), "f"(y[1]), "f"(y[2]), "f"(y[3]), "r"(random));
  return codes;
}
#endif

/// SrRule::carry of 8 bits, `random` < 256.
NVFP4_HOST_DEVICE inline std::uint32_t to_e2m1_carry(float y, std::uint32_t random) {
#ifdef NVFP4_GPU_CVT_RS
  return cvt_rs_e2m1x4({y, 0, 0, 0}, random) & 15;
#else
  return portable::to_e2m1_carry(y, random);
#endif
}

}  // namespace nvfp4::gpu
