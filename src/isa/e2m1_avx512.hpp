#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

/// E2M1 codes as FP32 values. Compiled once an instruction set, so it stands in each file's own namespace.
namespace nvfp4::isa {
namespace {

/// In the low four bits of each lane; higher bits are ignored.
inline __m512 e2m1_values_of(__m512i codes) {
  const __m512 values = _mm512_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6);
  return _mm512_permutexvar_ps(codes, values);
}

/// Of a block's 8 bytes.
inline __m512 e2m1_values_of(const std::uint8_t* packed) {
  std::uint64_t all;
  std::memcpy(&all, packed, 8);
  const __m512i halves =
      _mm512_mask_set1_epi32(_mm512_set1_epi32(static_cast<int>(all)), 0xFF00, static_cast<int>(all >> 32));
  const __m512i shifts = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
  return e2m1_values_of(_mm512_srlv_epi32(halves, shifts));
}

}  // namespace
}  // namespace nvfp4::isa
