#include "block_tiles.hpp"

#if defined(__AVX2__)
#include <immintrin.h>

#include <cstring>

#include "block_codes.hpp"
#include "block_steps.hpp"

namespace nvfp4::isa {
namespace {

struct Avx2 {
  struct Pair {
    __m256i v;
  };
  struct Int {
    __m256i v;
  };
  using Float = __m256;
  using Double = __m256d;
  static constexpr int columns = 8, run = 2;
  static constexpr std::array<std::uint8_t, 32> lane{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

  static constexpr auto unpack = unpack_codes<run>;
  static constexpr auto weigh = weigh_groups;

  /// Here this number is known: GCC 12 would else move what makes it, keep all of that at once, and spill it.
  template <class T>
  static void pin(T& x) {
    asm("" : "+x"(x.v));
  }

  static __m256i load_bytes(const void* x) { return _mm256_loadu_si256(static_cast<const __m256i*>(x)); }
  static Pair load(const std::int16_t* x) { return {load_bytes(x)}; }
  static Pair load(const std::uint16_t* x) { return {load_bytes(x)}; }
  static Float load(const float* x) { return _mm256_loadu_ps(x); }
  static void store(float* to, Float x) { _mm256_storeu_ps(to, x); }
  static Int broadcast(int x) { return {_mm256_set1_epi32(x)}; }
  static Float broadcast(float x) { return _mm256_set1_ps(x); }
  static Pair broadcast_pair(const void* two) {
    int bits;
    std::memcpy(&bits, two, 4);
    return {_mm256_set1_epi32(bits)};
  }

  /// Two products of 24 * 12 at most, eight times: 16 bits hold every sum.
  static void dots(const std::uint8_t* a, const std::uint8_t* b, const std::byte* offsets,
                   Pair (&dot)[block_tile_rows][2]) {
#pragma GCC unroll 4
    for (int r = 0; r < block_tile_rows; ++r) dot[r][0] = dot[r][1] = broadcast_pair(offsets + 4 * r);
#pragma GCC unroll 8
    for (int k = 0; k < group_size / run; ++k) {
      const __m256i columns[] = {load_bytes(b + 64 * k), load_bytes(b + 64 * k + 32)};
#pragma GCC unroll 4
      for (int r = 0; r < block_tile_rows; ++r) {
        const Pair row = broadcast_pair(a + 16 * k + 4 * r);
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
          dot[r][v].v = _mm256_add_epi16(dot[r][v].v, _mm256_maddubs_epi16(columns[v], row.v));
          pin(dot[r][v]);
        }
      }
    }
  }

  static Pair add(Pair x, Pair y) { return {_mm256_add_epi16(x.v, y.v)}; }
  static Pair multiply(Pair x, Pair y) { return {_mm256_mullo_epi16(x.v, y.v)}; }
  static Pair multiply_high(Pair x, Pair y) { return {_mm256_mulhi_epu16(x.v, y.v)}; }
  static Pair low_15_bits(Pair x) { return {_mm256_and_si256(x.v, _mm256_set1_epi16(0x7FFF))}; }
  static Pair largest(Pair x, Pair y) { return {_mm256_max_epi16(x.v, y.v)}; }
  static Pair first(Pair x) { return {_mm256_and_si256(x.v, _mm256_set1_epi32(0xFFFF))}; }
  static Pair second(Pair x) { return {_mm256_andnot_si256(_mm256_set1_epi32(0xFFFF), x.v)}; }
  static Pair where_both(Pair bits, Pair other, Pair x) {
    const __m256i none = _mm256_cmpeq_epi16(_mm256_and_si256(bits.v, other.v), _mm256_setzero_si256());
    return {_mm256_andnot_si256(none, x.v)};
  }
  static Int multiply_add(Pair x, Pair y) { return {_mm256_madd_epi16(x.v, y.v)}; }
  static Int multiply_add(Int sum, Pair x, Pair y) { return add(sum, multiply_add(x, y)); }

  static Int as_int(Pair x) { return {x.v}; }
  static Pair as_pair(Int x) { return {x.v}; }
  static Int add(Int x, Int y) { return {_mm256_add_epi32(x.v, y.v)}; }
  static Int largest(Int x, Int y) { return {_mm256_max_epi32(x.v, y.v)}; }
  template <int bits>
  static Int left(Int x) {
    return {_mm256_slli_epi32(x.v, bits)};
  }
  template <int bits>
  static Int right(Int x) {
    return {_mm256_srli_epi32(x.v, bits)};
  }

  static Float to_float(Int x) { return _mm256_cvtepi32_ps(x.v); }
  static Float as_float(Int x) { return _mm256_castsi256_ps(x.v); }
  static Int exponent_field(Float x) {
    return {_mm256_srli_epi32(_mm256_slli_epi32(_mm256_castps_si256(x), 1), 24)};
  }
  static Float multiply(Float x, Float y) { return _mm256_mul_ps(x, y); }
  static Float truncated_fma(Float x, Float y, Float z) { return _mm256_fmadd_ps(x, y, z); }

  static void halves(Float x, Double (&half)[2]) {
    half[0] = _mm256_cvtps_pd(_mm256_castps256_ps128(x));
    half[1] = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
  }
  static void halves(Int x, Double (&half)[2]) {
    half[0] = _mm256_cvtepi32_pd(_mm256_castsi256_si128(x.v));
    half[1] = _mm256_cvtepi32_pd(_mm256_extracti128_si256(x.v, 1));
  }
  static Double broadcast(double x) { return _mm256_set1_pd(x); }
  static Double add(Double x, Double y) { return _mm256_add_pd(x, y); }
  static Double multiply(Double x, Double y) { return _mm256_mul_pd(x, y); }
  /// x, without what lies below the last bit of `far`, |x| being below it.
  static Double cut(Double x, Double far) {
    const Double signed_far = _mm256_or_pd(far, _mm256_and_pd(x, _mm256_set1_pd(-0.0)));
    return _mm256_sub_pd(_mm256_add_pd(x, signed_far), signed_far);
  }
  static Double fma(Double x, Double y, Double z) { return _mm256_fmadd_pd(x, y, z); }
  /// To the 24 bits of a normal FP32 number.
  static Double truncated(Double x) {
    return _mm256_and_pd(x, _mm256_castsi256_pd(_mm256_set1_epi64x(~0x1FFFFFFFll)));
  }
  static Float joined(const Double (&half)[2]) {
    return _mm256_set_m128(_mm256_cvtpd_ps(half[1]), _mm256_cvtpd_ps(half[0]));
  }
};

}  // namespace

const BlockTiles& avx2_block_tiles() { return BlockSteps<Avx2>::tiles; }

}  // namespace nvfp4::isa
#else
namespace nvfp4::isa {
const BlockTiles& avx2_block_tiles() { return portable_block_tiles(); }
}  // namespace nvfp4::isa
#endif
