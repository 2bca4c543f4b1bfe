#pragma once
#include <immintrin.h>

#include <cstring>

#include "block_tiles.hpp"

/// BlockTiles::unpack, and the scales of a step, in AVX2.
namespace nvfp4::isa {
namespace {

inline __m256i both_lanes(const void* bytes) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(bytes)));
}

/// Sums of the bytes of each group. The first groups of the two pairs are in `first`, the others in `second`.
inline __m128i byte_sums(__m256i first, __m256i second) {
  const __m256i halves[] = {_mm256_sad_epu8(first, _mm256_setzero_si256()),
                            _mm256_sad_epu8(second, _mm256_setzero_si256())};
  const __m256i whole = _mm256_add_epi64(_mm256_unpacklo_epi64(halves[0], halves[1]),
                                         _mm256_unpackhi_epi64(halves[0], halves[1]));
  const __m256i in_order = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
  return _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(whole, in_order));
}

/// A bit for each byte that is not zero; a lane's in 16 bits.
inline unsigned nonzero_bytes(__m256i x) {
  return ~static_cast<unsigned>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(x, _mm256_setzero_si256())));
}

template <int run>
[[gnu::always_inline]] inline void unpack_codes(const std::uint8_t* codes, int offset, StepCodes& step) {
  static constexpr std::uint8_t squared_e2m1[16] = {0, 1, 4, 9, 16, 36, 64, 144, 0, 1, 4, 9, 16, 36, 64, 144};
  const __m256i packed = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)),
                low = _mm256_set1_epi8(15);
  const __m256i even = _mm256_and_si256(packed, low),
                odd = _mm256_and_si256(_mm256_srli_epi16(packed, 4), low);
  const __m256i elements[] = {_mm256_unpacklo_epi8(even, odd), _mm256_unpackhi_epi8(even, odd)};
  const __m256i doubled = both_lanes(doubled_e2m1), squared = both_lanes(squared_e2m1);
  const __m256i values[] = {_mm256_shuffle_epi8(doubled, elements[0]),
                            _mm256_shuffle_epi8(doubled, elements[1])};
  const __m256i twelve = _mm256_set1_epi8(12);
  const __m256i raised[] = {_mm256_add_epi8(values[0], twelve), _mm256_add_epi8(values[1], twelve)};
  const __m128i sums = _mm_sub_epi32(byte_sums(raised[0], raised[1]), _mm_set1_epi32(12 * group_size));
  const __m128i offsets = _mm_mullo_epi32(sums, _mm_set1_epi32(-12));
  _mm_store_si128(reinterpret_cast<__m128i*>(step.offsets),
                  run == 2 ? _mm_packs_epi32(offsets, offsets) : offsets);
  _mm_store_si128(
      reinterpret_cast<__m128i*>(step.squares),
      byte_sums(_mm256_shuffle_epi8(squared, elements[0]), _mm256_shuffle_epi8(squared, elements[1])));
  for (int g = 0; g < 2; ++g) {
    const unsigned bits = nonzero_bytes(values[g]);
    step.nonzero[g] = static_cast<std::uint16_t>(bits),
    step.nonzero[2 + g] = static_cast<std::uint16_t>(bits >> 16);
  }
  const __m256i* v = offset ? raised : values;
  const __m256i early = run == 2 ? _mm256_unpacklo_epi16(v[0], v[1]) : _mm256_unpacklo_epi32(v[0], v[1]),
                late = run == 2 ? _mm256_unpackhi_epi16(v[0], v[1]) : _mm256_unpackhi_epi32(v[0], v[1]);
  auto* to = reinterpret_cast<__m256i*>(step.values);
  _mm256_store_si256(to, _mm256_permute2x128_si256(early, late, 0x20));
  _mm256_store_si256(to + 1, _mm256_permute2x128_si256(early, late, 0x31));
}

/// Of four numbers the least, in all places; and so the largest.
inline __m128i least_of(__m128i x) {
  x = _mm_min_epi32(x, _mm_shuffle_epi32(x, 0b01001110));
  return _mm_min_epi32(x, _mm_shuffle_epi32(x, 0b10110001));
}
inline __m128i largest_of(__m128i x) {
  x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0b01001110));
  return _mm_max_epi32(x, _mm_shuffle_epi32(x, 0b10110001));
}

inline double norm_of(__m128i squares, __m128i significands, __m128i shifts) {
  const __m256i biased = _mm256_add_epi64(_mm256_cvtepi32_epi64(shifts), _mm256_set1_epi64x(1023));
  const __m256d weight =
      _mm256_mul_pd(_mm256_cvtepi32_pd(significands), _mm256_castsi256_pd(_mm256_slli_epi64(biased, 52)));
  const __m256d terms = _mm256_mul_pd(_mm256_cvtepi32_pd(squares), _mm256_mul_pd(weight, weight));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(terms), _mm256_extractf128_pd(terms, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

inline StepScales weigh_groups(const ScaleFields* scale_of, const std::uint8_t* scales,
                               const std::int32_t (&sums_of_squares)[step_groups]) {
  const auto fields = [&](int g) {
    int both;
    std::memcpy(&both, scale_of + scales[g], sizeof both);
    return both;
  };
  const __m128i all = _mm_setr_epi32(fields(0), fields(1), fields(2), fields(3)), zero = _mm_setzero_si128();
  const __m128i significands = _mm_and_si128(all, _mm_set1_epi32(0xFFFF)),
                exponents = _mm_srai_epi32(all, 16);
  const __m128i squares = _mm_load_si128(reinterpret_cast<const __m128i*>(sums_of_squares));
  const __m128i none = _mm_or_si128(_mm_cmpeq_epi32(squares, zero), _mm_cmpeq_epi32(significands, zero));
  const __m128i least = least_of(_mm_blendv_epi8(exponents, _mm_set1_epi32(1000), none)),
                largest = largest_of(_mm_blendv_epi8(exponents, _mm_set1_epi32(-1000), none));
  const __m128i shifts = _mm_andnot_si128(none, _mm_sub_epi32(exponents, least)),
                counted = _mm_andnot_si128(none, significands);
  const __m128i weights = _mm_sllv_epi32(counted, _mm_min_epi32(shifts, _mm_set1_epi32(most_spread)));
  StepScales step;
  _mm_storel_epi64(reinterpret_cast<__m128i*>(step.weights), _mm_packs_epi32(weights, weights));
  step.least = _mm_cvtsi128_si32(least), step.largest = _mm_cvtsi128_si32(largest);
  step.norm = norm_of(squares, counted, shifts);
  step.has_nan = _mm_movemask_epi8(_mm_cmpeq_epi32(exponents, _mm_set1_epi32(nan_exponent))) != 0;
  return step;
}

}  // namespace
}  // namespace nvfp4::isa
