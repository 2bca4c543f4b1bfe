// nvfp4_cuda_formats [--full]: the reference against the CUDA toolkit's own host conversions on all 2^32 FP32
// patterns, and on all codes the other way. By default one conversion a format; --full takes every one.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp4.h>
#include <cuda_fp6.h>
#include <cuda_fp8.h>

#include <cmath>
#include <cstdio>
#include <cstring>

#include "tests/sweep.hpp"

using namespace nvfp4;

namespace {

using Codes = std::span<std::uint32_t>;
using Values = std::span<const float>;

/// A loop over one conversion; a template argument, so that the conversion is inlined.
template <auto convert>
void each(Values x, Codes codes) {
  std::transform(x.begin(), x.end(), codes.begin(), convert);
}

template <cudaRoundMode mode>
std::uint32_t to_e2m1(float x) {
  return __nv_cvt_float_to_fp4(x, __NV_E2M1, mode);
}
template <__nv_fp6_interpretation_t format, cudaRoundMode mode>
std::uint32_t to_fp6(float x) {
  return __nv_cvt_float_to_fp6(x, format, mode);
}
template <__nv_fp8_interpretation_t format, __nv_saturation_t saturation>
std::uint32_t to_fp8(float x) {
  return __nv_cvt_float_to_fp8(x, saturation, format);
}
template <cudaRoundMode mode, __nv_saturation_t saturation>
std::uint32_t to_e8m0(float x) {
  return __nv_cvt_float_to_e8m0(x, saturation, mode);
}
template <__nv_bfloat16 (*convert)(float)>
std::uint32_t to_bf16(float x) {
  return static_cast<__nv_bfloat16_raw>(convert(x)).x;
}
template <__half (*convert)(float)>
std::uint32_t to_fp16(float x) {
  return static_cast<__half_raw>(convert(x)).x;
}

struct Conversion {
  const char* name;
  Format format;
  Rounding rounding;
  Overflow overflow;
  void (*encode)(Values, Codes);
  bool by_default = false;
};

using enum Rounding;
using enum Overflow;

const Conversion conversions[] = {
    {"__nv_cvt_float_to_fp4 nearest", Format::e2m1, nearest_even, saturate, each<to_e2m1<cudaRoundNearest> >,
     true},
    {"__nv_cvt_float_to_fp4 zero", Format::e2m1, toward_zero, saturate, each<to_e2m1<cudaRoundZero> >},
    {"__nv_cvt_float_to_fp6 E2M3 nearest", Format::e2m3, nearest_even, saturate,
     each<to_fp6<__NV_E2M3, cudaRoundNearest> >, true},
    {"__nv_cvt_float_to_fp6 E2M3 zero", Format::e2m3, toward_zero, saturate,
     each<to_fp6<__NV_E2M3, cudaRoundZero> >},
    {"__nv_cvt_float_to_fp6 E3M2 nearest", Format::e3m2, nearest_even, saturate,
     each<to_fp6<__NV_E3M2, cudaRoundNearest> >, true},
    {"__nv_cvt_float_to_fp6 E3M2 zero", Format::e3m2, toward_zero, saturate,
     each<to_fp6<__NV_E3M2, cudaRoundZero> >},
    {"__nv_cvt_float_to_fp8 E4M3 SATFINITE", Format::e4m3, nearest_even, saturate,
     each<to_fp8<__NV_E4M3, __NV_SATFINITE> >, true},
    {"__nv_cvt_float_to_fp8 E4M3 NOSAT", Format::e4m3, nearest_even, special,
     each<to_fp8<__NV_E4M3, __NV_NOSAT> >},
    {"__nv_cvt_float_to_fp8 E5M2 SATFINITE", Format::e5m2, nearest_even, saturate,
     each<to_fp8<__NV_E5M2, __NV_SATFINITE> >},
    {"__nv_cvt_float_to_fp8 E5M2 NOSAT", Format::e5m2, nearest_even, special,
     each<to_fp8<__NV_E5M2, __NV_NOSAT> >, true},
    {"__nv_cvt_float_to_e8m0 up SATFINITE", Format::e8m0, up, saturate,
     each<to_e8m0<cudaRoundPosInf, __NV_SATFINITE> >, true},
    {"__nv_cvt_float_to_e8m0 up NOSAT", Format::e8m0, up, special,
     each<to_e8m0<cudaRoundPosInf, __NV_NOSAT> >},
    {"__nv_cvt_float_to_e8m0 zero SATFINITE", Format::e8m0, toward_zero, saturate,
     each<to_e8m0<cudaRoundZero, __NV_SATFINITE> >},
    {"__nv_cvt_float_to_e8m0 zero NOSAT", Format::e8m0, toward_zero, special,
     each<to_e8m0<cudaRoundZero, __NV_NOSAT> >},
    {"__float2bfloat16_rn", Format::bf16, nearest_even, special, each<to_bf16<__float2bfloat16_rn> >, true},
    {"__float2bfloat16_rz", Format::bf16, toward_zero, special, each<to_bf16<__float2bfloat16_rz> >},
    {"__float2bfloat16_ru", Format::bf16, up, special, each<to_bf16<__float2bfloat16_ru> >},
    {"__float2bfloat16_rd", Format::bf16, down, special, each<to_bf16<__float2bfloat16_rd> >},
    {"__float2half_rn", Format::fp16, nearest_even, special, each<to_fp16<__float2half_rn> >, true},
    {"__float2half_rz", Format::fp16, toward_zero, special, each<to_fp16<__float2half_rz> >},
    {"__float2half_ru", Format::fp16, up, special, each<to_fp16<__float2half_ru> >},
    {"__float2half_rd", Format::fp16, down, special, each<to_fp16<__float2half_rd> >},
};

float half_bits(std::uint16_t bits) { return __half2float(__half(__half_raw{bits})); }
float bf16_bits(std::uint16_t bits) { return __bfloat162float(__nv_bfloat16(__nv_bfloat16_raw{bits})); }

struct Decoding {
  const char* name;
  Format format;
  float (*decode)(std::uint32_t);
};

const Decoding decodings[] = {
    {"__nv_cvt_fp4_to_halfraw", Format::e2m1,
     [](std::uint32_t c) { return half_bits(__nv_cvt_fp4_to_halfraw(c, __NV_E2M1).x); }},
    {"__nv_cvt_fp6_to_halfraw E2M3", Format::e2m3,
     [](std::uint32_t c) { return half_bits(__nv_cvt_fp6_to_halfraw(c, __NV_E2M3).x); }},
    {"__nv_cvt_fp6_to_halfraw E3M2", Format::e3m2,
     [](std::uint32_t c) { return half_bits(__nv_cvt_fp6_to_halfraw(c, __NV_E3M2).x); }},
    {"__nv_cvt_fp8_to_halfraw E4M3", Format::e4m3,
     [](std::uint32_t c) { return half_bits(__nv_cvt_fp8_to_halfraw(c, __NV_E4M3).x); }},
    {"__nv_cvt_fp8_to_halfraw E5M2", Format::e5m2,
     [](std::uint32_t c) { return half_bits(__nv_cvt_fp8_to_halfraw(c, __NV_E5M2).x); }},
    {"__nv_cvt_e8m0_to_bf16raw", Format::e8m0,
     [](std::uint32_t c) { return bf16_bits(__nv_cvt_e8m0_to_bf16raw(c).x); }},
    {"__bfloat162float", Format::bf16, [](std::uint32_t c) { return bf16_bits(c); }},
    {"__half2float", Format::fp16, [](std::uint32_t c) { return half_bits(c); }},
};

/// CUDA's NaNs carry no sign and other payloads: any NaN equals any.
bool same(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

testing::Differences compare_decoding(const Decoding& d) {
  testing::Differences found;
  for (std::uint32_t c = 0; c < 1u << info(d.format).bits; ++c) {
    const float expected = reference::decode(c, d.format), actual = d.decode(c);
    if (!same(expected, actual))
      found.add(c, std::bit_cast<std::uint32_t>(expected), std::bit_cast<std::uint32_t>(actual));
  }
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  const bool full = argc == 2 && std::strcmp(argv[1], "--full") == 0;
  if (argc > 1 && !full) return std::fprintf(stderr, "usage: nvfp4_cuda_formats [--full]\n"), 2;
  testing::SweepLog log;
  for (const Decoding& d : decodings) log.record(d.name, compare_decoding(d), "equal on all codes");
  for (const Conversion& c : conversions)
    if (full || c.by_default)
      log.run(c.name, reference::staircase({c.format, c.rounding, c.overflow, Target::cuda}), c.encode);
  return log.finish();
}
