#include "block_tiles.hpp"

#if defined(__AVX512VNNI__)
#include <immintrin.h>

#include <cstring>

#include "block_codes.hpp"
#include "block_steps.hpp"

namespace nvfp4::isa {
namespace {

struct Vnni {
  struct Pair {
    __m512i v;
  };
  struct Int {
    __m512i v;
  };
  using Float = __m512;
  using Double = __m512d;
  static constexpr int columns = 16, run = 4;
  /// Packing two vectors of 32-bit dots goes by 128-bit lanes, so 16 columns lie in them by twos.
  static constexpr std::array<std::uint8_t, 32> lane{0,  1,  8,  9,  2,  3,  10, 11, 4,  5,  12,
                                                     13, 6,  7,  14, 15, 16, 17, 24, 25, 18, 19,
                                                     26, 27, 20, 21, 28, 29, 22, 23, 30, 31};

  static constexpr auto unpack = unpack_codes<run>;
  static constexpr auto weigh = weigh_groups;

  static __m512i load_bytes(const void* x) { return _mm512_loadu_si512(x); }
  static Pair load(const std::int16_t* x) { return {load_bytes(x)}; }
  static Pair load(const std::uint16_t* x) { return {load_bytes(x)}; }
  static Float load(const float* x) { return _mm512_loadu_ps(x); }
  static void store(float* to, Float x) { _mm512_storeu_ps(to, x); }
  static Int broadcast(int x) { return {_mm512_set1_epi32(x)}; }
  static Float broadcast(float x) { return _mm512_set1_ps(x); }
  static Pair broadcast_pair(const void* two) {
    int bits;
    std::memcpy(&bits, two, 4);
    return {_mm512_set1_epi32(bits)};
  }
  static __m512i broadcast_8_bytes(const void* x) {
    long long bits;
    std::memcpy(&bits, x, 8);
    return _mm512_set1_epi64(bits);
  }

  static void dots(const std::uint8_t* a, const std::uint8_t* b, const std::byte* offsets,
                   Pair (&dot)[block_tile_rows][2]) {
    __m512i sum[block_tile_rows][4];
#pragma GCC unroll 4
    for (int r = 0; r < block_tile_rows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) sum[r][v] = broadcast_8_bytes(offsets + 8 * r);
#pragma GCC unroll 4
    for (int k = 0; k < group_size / run; ++k) {
      __m512i columns[4];
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) columns[v] = load_bytes(b + 256 * k + 64 * v);
#pragma GCC unroll 4
      for (int r = 0; r < block_tile_rows; ++r) {
        const __m512i row = broadcast_8_bytes(a + 32 * k + 8 * r);
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) {
          sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], columns[v], row);
          asm("" : "+v"(sum[r][v]));
        }
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < block_tile_rows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) dot[r][v] = {_mm512_packs_epi32(sum[r][2 * v], sum[r][2 * v + 1])};
  }

  static Pair add(Pair x, Pair y) { return {_mm512_add_epi16(x.v, y.v)}; }
  static Pair multiply(Pair x, Pair y) { return {_mm512_mullo_epi16(x.v, y.v)}; }
  static Pair multiply_high(Pair x, Pair y) { return {_mm512_mulhi_epu16(x.v, y.v)}; }
  static Pair low_15_bits(Pair x) { return {_mm512_and_si512(x.v, _mm512_set1_epi16(0x7FFF))}; }
  static Pair largest(Pair x, Pair y) { return {_mm512_max_epi16(x.v, y.v)}; }
  static Pair first(Pair x) { return {_mm512_and_si512(x.v, _mm512_set1_epi32(0xFFFF))}; }
  static Pair second(Pair x) { return {_mm512_andnot_si512(_mm512_set1_epi32(0xFFFF), x.v)}; }
  static Pair where_both(Pair bits, Pair other, Pair x) {
    return {_mm512_maskz_mov_epi16(_mm512_test_epi16_mask(bits.v, other.v), x.v)};
  }
  static Int multiply_add(Pair x, Pair y) { return {_mm512_madd_epi16(x.v, y.v)}; }
  static Int multiply_add(Int sum, Pair x, Pair y) { return {_mm512_dpwssd_epi32(sum.v, x.v, y.v)}; }

  static Int as_int(Pair x) { return {x.v}; }
  static Pair as_pair(Int x) { return {x.v}; }
  static Int add(Int x, Int y) { return {_mm512_add_epi32(x.v, y.v)}; }
  static Int largest(Int x, Int y) { return {_mm512_max_epi32(x.v, y.v)}; }
  template <int bits>
  static Int left(Int x) {
    return {_mm512_slli_epi32(x.v, bits)};
  }
  template <int bits>
  static Int right(Int x) {
    return {_mm512_srli_epi32(x.v, bits)};
  }

  static Float to_float(Int x) { return _mm512_cvtepi32_ps(x.v); }
  static Float as_float(Int x) { return _mm512_castsi512_ps(x.v); }
  static Int exponent_field(Float x) {
    return {_mm512_srli_epi32(_mm512_slli_epi32(_mm512_castps_si512(x), 1), 24)};
  }
  static Float multiply(Float x, Float y) { return _mm512_mul_ps(x, y); }
  static Float truncated_fma(Float x, Float y, Float z) { return _mm512_fmadd_ps(x, y, z); }

  static void halves(Float x, Double (&half)[2]) {
    half[0] = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    half[1] = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
  }
  static void halves(Int x, Double (&half)[2]) {
    half[0] = _mm512_cvtepi32_pd(_mm512_castsi512_si256(x.v));
    half[1] = _mm512_cvtepi32_pd(_mm512_extracti32x8_epi32(x.v, 1));
  }
  static Double broadcast(double x) { return _mm512_set1_pd(x); }
  static Double add(Double x, Double y) { return _mm512_add_pd(x, y); }
  static Double multiply(Double x, Double y) { return _mm512_mul_pd(x, y); }
  /// x, without what lies below the last bit of `far`, |x| being below it.
  static Double cut(Double x, Double far) {
    const Double signed_far = _mm512_or_pd(far, _mm512_and_pd(x, _mm512_set1_pd(-0.0)));
    return _mm512_sub_pd(_mm512_add_pd(x, signed_far), signed_far);
  }
  static Double fma(Double x, Double y, Double z) { return _mm512_fmadd_pd(x, y, z); }
  /// To the 24 bits of a normal FP32 number.
  static Double truncated(Double x) {
    return _mm512_and_pd(x, _mm512_castsi512_pd(_mm512_set1_epi64(~0x1FFFFFFFll)));
  }
  static Float joined(const Double (&half)[2]) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(half[0])), _mm512_cvtpd_ps(half[1]), 1);
  }
};

}  // namespace

const BlockTiles& avx512_block_tiles() {
  return __builtin_cpu_supports("avx512vnni") ? BlockSteps<Vnni>::tiles : avx2_block_tiles();
}

}  // namespace nvfp4::isa
#else
namespace nvfp4::isa {
const BlockTiles& avx512_block_tiles() { return avx2_block_tiles(); }
}  // namespace nvfp4::isa
#endif
