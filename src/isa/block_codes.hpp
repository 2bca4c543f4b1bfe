#pragma once
#include <immintrin.h>

#include "block_tiles.hpp"

/// BlockTiles::unpack by byte shuffles.
namespace nvfp4::isa {
namespace {

inline __m128i look_up(__m128i table, __m128i codes) { return _mm_shuffle_epi8(table, codes); }

/// Sums of the bytes of two vectors.
inline void byte_sums(const __m128i (&bytes)[2], int bias, int (&sums)[2]) {
  for (int g = 0; g < 2; ++g) {
    const __m128i halves = _mm_sad_epu8(bytes[g], _mm_setzero_si128());
    sums[g] = _mm_cvtsi128_si32(halves) + _mm_extract_epi16(halves, 4) - bias;
  }
}

template <int run>
void unpack_codes(const std::uint8_t* codes, int offset, CodePair& pair) {
  const __m128i doubled = _mm_loadu_si128(reinterpret_cast<const __m128i*>(doubled_e2m1));
  const __m128i squared = _mm_setr_epi8(0, 1, 4, 9, 16, 36, 64, static_cast<char>(144), 0, 1, 4, 9, 16, 36,
                                        64, static_cast<char>(144));
  const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)), low = _mm_set1_epi8(15);
  const __m128i even = _mm_and_si128(packed, low), odd = _mm_and_si128(_mm_srli_epi16(packed, 4), low);
  const __m128i elements[] = {_mm_unpacklo_epi8(even, odd), _mm_unpackhi_epi8(even, odd)};
  const __m128i values[] = {look_up(doubled, elements[0]), look_up(doubled, elements[1])};
  const __m128i squares[] = {look_up(squared, elements[0]), look_up(squared, elements[1])};
  const __m128i twelve = _mm_set1_epi8(12);
  const __m128i raised[] = {_mm_add_epi8(values[0], twelve), _mm_add_epi8(values[1], twelve)};
  byte_sums(raised, 12 * group_size, pair.sums);
  byte_sums(squares, 0, pair.squares);
  for (int g = 0; g < 2; ++g)
    pair.nonzero[g] =
        static_cast<std::uint16_t>(~_mm_movemask_epi8(_mm_cmpeq_epi8(values[g], _mm_setzero_si128())));
  const __m128i* v = offset ? raised : values;
  auto* to = reinterpret_cast<__m128i*>(pair.values);
  _mm_store_si128(to, run == 2 ? _mm_unpacklo_epi16(v[0], v[1]) : _mm_unpacklo_epi32(v[0], v[1]));
  _mm_store_si128(to + 1, run == 2 ? _mm_unpackhi_epi16(v[0], v[1]) : _mm_unpackhi_epi32(v[0], v[1]));
}

}  // namespace
}  // namespace nvfp4::isa
