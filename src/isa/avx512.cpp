#include "block_tiles.hpp"
#include "isa.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include <immintrin.h>

#include "e2m1_avx512.hpp"
#include "engine.hpp"

namespace nvfp4::isa {
namespace {

struct Mask {
  __mmask16 m;
};

struct Codes {
  __m512i v;
  Codes() = default;
  explicit Codes(int x) : v(_mm512_set1_epi32(x)) {}
  explicit Codes(__m512i v) : v(v) {}
  static Codes load(const std::uint32_t* codes) { return Codes(_mm512_loadu_si512(codes)); }
  /// A byte each, widened.
  static Codes load_bytes(const std::uint8_t* bytes) {
    return Codes(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes))));
  }
  struct Pairs;
  void store(std::uint32_t* out) const { _mm512_storeu_si512(out, v); }
  void store_bytes(std::uint8_t* out) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8(v));
  }
};

/// The bytes of 32 elements.
struct Codes::Pairs {
  __m512i words;
  explicit Pairs(const std::uint8_t* bytes)
      : words(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)))) {}
  Codes even() const { return Codes(_mm512_and_si512(words, _mm512_set1_epi32(0xFF))); }
  Codes odd() const { return Codes(_mm512_srli_epi32(words, 8)); }
};
/// See philox.hpp. Lanes hold counters 0, 4, 1, 5, ..., for the stores' sake.
struct Wide {
  static constexpr int lanes = 8;
  __m512i v;
  Wide() = default;
  explicit Wide(std::uint32_t word) : v(_mm512_set1_epi64(word)) {}
  explicit Wide(__m512i v) : v(v) {}
  static Wide counters(std::uint32_t first) {
    return Wide(_mm512_add_epi32(Wide(first).v, _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7)));
  }
  static void store(const Wide* word, std::uint32_t* out) {
    const auto pair = [](Wide a, Wide b) {
      return _mm512_mask_blend_epi32(0xAAAA, a.v, _mm512_slli_epi64(b.v, 32));
    };
    const __m512i low = pair(word[0], word[1]), high = pair(word[2], word[3]);
    _mm512_storeu_si512(out, _mm512_unpacklo_epi64(low, high));
    _mm512_storeu_si512(out + 16, _mm512_unpackhi_epi64(low, high));
  }
};
Wide operator^(Wide a, Wide b) { return Wide(_mm512_xor_si512(a.v, b.v)); }
Wide product(Wide a, std::uint32_t b) { return Wide(_mm512_mul_epu32(a.v, Wide(b).v)); }
Wide upper(Wide a) { return Wide(_mm512_srli_epi64(a.v, 32)); }

struct F32 {
  using Code = Codes;
  using Wide = nvfp4::isa::Wide;
  static constexpr int lanes = 16;
  static constexpr int packed_blocks = 8;  ///< 64 bytes of codes
  __m512 v;
  static constexpr const Tiles* tiles = &avx512_tiles;
  static constexpr auto block_tiles = avx512_block_tiles;

  explicit F32(float x) : v(_mm512_set1_ps(x)) {}
  explicit F32(__m512 v) : v(v) {}
  static constexpr bool fuses = true;  ///< multiply_add is one instruction
  void store(float* out) const { _mm512_storeu_ps(out, v); }
  void narrow(float* out) const { store(out); }
  void narrow(Bf16* out) const;

  static F32 load(const float* x) { return F32(_mm512_loadu_ps(x)); }
  static F32 load(const Bf16* x) {
    return F32(_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load256(x)), 16)));
  }
  static F32 load(const Fp16* x) { return F32(_mm512_cvtph_ps(load256(x))); }

  static float widen(float x) { return x; }
  static float widen(Bf16 x) { return __builtin_bit_cast(float, static_cast<std::uint32_t>(x.bits) << 16); }
  static float widen(Fp16 x) { return _cvtsh_ss(x.bits); }

  static std::uint32_t amax_bits(const float* x, std::int64_t count);
  static std::uint32_t amax_bits(const Bf16* x, std::int64_t count) { return amax_bits16(&x->bits, count); }
  static std::uint32_t amax_bits(const Fp16* x, std::int64_t count) { return amax_bits16(&x->bits, count); }

  static F32 block_maxima(const float* x, std::int64_t stride, std::int64_t rows);
  static F32 block_maxima(const Bf16* x, std::int64_t stride, std::int64_t rows) {
    return F32(_mm512_castsi512_ps(_mm512_slli_epi32(block_maxima16(&x->bits, stride, rows), 16)));
  }
  static F32 block_maxima(const Fp16* x, std::int64_t stride, std::int64_t rows) {
    return F32(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(block_maxima16(&x->bits, stride, rows))));
  }

  [[gnu::always_inline]] static void store_packed(const Codes* codes, std::uint8_t* out);

  struct Split;
  /// Two blocks; dword i has elements 2i and 2i + 1, the upper halves of FP32 numbers.
  static Split split(const Bf16* x);
  static F32 eight_each(const float* two) {
    return F32(_mm512_mask_broadcastss_ps(_mm512_set1_ps(two[0]), 0xFF00, _mm_load_ss(two + 1)));
  }
  [[gnu::always_inline]] static void store_bytes(const Codes* bytes, std::uint8_t* out);
  static bool exact_sums(const Bf16* x, std::int64_t stride, F32& bound);
  static void turn_dwords(const std::uint32_t* from, std::int64_t stride, std::uint32_t* to,
                          std::int64_t to_stride);
  static F32 e2m1_values(const std::uint8_t* packed, int part);
  static F32 e2m1_value(Codes);

 private:
  static __m256i load256(const void* x) { return _mm256_loadu_si256(static_cast<const __m256i*>(x)); }
  static std::uint32_t amax_bits16(const std::uint16_t* x, std::int64_t count);
  static __m512i block_maxima16(const std::uint16_t* x, std::int64_t stride, std::int64_t rows);
};

struct F32::Split {
  F32 even, odd;
};

F32::Split F32::split(const Bf16* x) {
  const __m512i pairs = _mm512_loadu_si512(x);
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xFFFF0000));
  return {F32(_mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16))),
          F32(_mm512_castsi512_ps(_mm512_and_si512(pairs, upper)))};
}

struct E4M3Scales {
  Codes code;
  F32 value;
};

Codes operator|(Codes a, Codes b) { return Codes(_mm512_or_si512(a.v, b.v)); }
F32 operator*(F32 a, F32 b) { return F32(_mm512_mul_ps(a.v, b.v)); }
F32 operator/(F32 a, F32 b) { return F32(_mm512_div_ps(a.v, b.v)); }
F32 operator+(F32 a, F32 b) { return F32(_mm512_add_ps(a.v, b.v)); }
F32 operator-(F32 a, F32 b) { return F32(_mm512_sub_ps(a.v, b.v)); }
F32 abs(F32 a) { return F32(_mm512_abs_ps(a.v)); }
Mask operator<(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
Mask has_sign(F32 a) { return {_mm512_movepi32_mask(_mm512_castps_si512(a.v))}; }
Mask operator==(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
Mask operator|(Mask a, Mask b) { return {static_cast<__mmask16>(a.m | b.m)}; }
Mask is_nan(F32 a) { return {_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q)}; }
bool any(Mask a) { return a.m != 0; }
bool any_nan(F32 a) { return any(is_nan(a)); }
F32 select(Mask m, F32 x, F32 y) { return F32(_mm512_mask_blend_ps(m.m, y.v, x.v)); }
Codes select(Mask m, Codes x, Codes y) { return Codes(_mm512_mask_blend_epi32(m.m, y.v, x.v)); }
// vminps returns its second operand where either is NaN.
F32 min_num(F32 a, F32 bound) { return F32(_mm512_min_ps(a.v, bound.v)); }
F32 min_nan(F32 a, F32 bound) { return F32(_mm512_min_ps(bound.v, a.v)); }
F32 max_nan(F32 a, F32 bound) { return F32(_mm512_max_ps(bound.v, a.v)); }

/// See avx2.cpp.
F32 larger_pattern(F32 a, F32 b) {
  return F32(_mm512_castsi512_ps(_mm512_max_epu32(_mm512_castps_si512(a.v), _mm512_castps_si512(b.v))));
}

/// See avx2.cpp.
Codes eight_nibbles(const Codes* c) {
  const auto join = [](__m512i low, __m512i high, int bits) {
    return _mm512_or_si512(low, _mm512_slli_epi32(high, bits));
  };
  const auto four = [&](const Codes* d) { return join(join(d[0].v, d[1].v, 4), join(d[2].v, d[3].v, 4), 8); };
  return Codes(_mm512_mask_blend_epi16(0xAAAAAAAA, four(c), _mm512_slli_epi32(four(c + 4), 16)));
}

/// Rows of as many dwords, turned.
void F32::turn_dwords(const std::uint32_t* from, std::int64_t stride, std::uint32_t* to,
                      std::int64_t to_stride) {
  for (int c = 0; c < lanes; ++c)
    for (int r = 0; r < lanes; ++r) to[c * to_stride + r] = from[r * stride + c];
}

F32 ftz(F32 a) { return select(abs(a) < F32(0x1p-126f), F32(_mm512_and_ps(a.v, _mm512_set1_ps(-0.f))), a); }

/// See avx2.cpp.
F32 to_bf16(F32 a) {
  const __m512i bits = _mm512_castps_si512(a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  const __m512i rounded = _mm512_and_si512(sum, _mm512_set1_epi32(static_cast<int>(0xFFFF0000)));
  return select(is_nan(a), F32(__builtin_nanf("")), F32(_mm512_castsi512_ps(rounded)));
}

void F32::narrow(Bf16* out) const {
  const __m512i upper = _mm512_srli_epi32(_mm512_castps_si512(to_bf16(*this).v), 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtepi32_epi16(upper));
}

Codes operator+(Codes a, Codes b) { return Codes(_mm512_add_epi32(a.v, b.v)); }
Codes operator-(Codes a, Codes b) { return Codes(_mm512_sub_epi32(a.v, b.v)); }
Codes operator<<(Codes a, int bits) { return Codes(_mm512_slli_epi32(a.v, static_cast<unsigned>(bits))); }
F32 multiply_add(F32 a, F32 b, F32 c) { return F32(_mm512_fmadd_ps(a.v, b.v, c.v)); }

/// See avx2.cpp.
F32 binade(F32 a) { return F32(_mm512_and_ps(a.v, _mm512_set1_ps(__builtin_inff()))); }
Codes cut_to_integer(F32 a) { return Codes(_mm512_cvttps_epi32(a.v)); }
F32 toward_zero(Codes n) {
  return F32(_mm512_cvt_roundepi32_ps(n.v, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC));
}

/// See avx2.cpp.
bool F32::exact_sums(const Bf16* x, std::int64_t stride, F32& bound) {
  const __m512i one = _mm512_set1_epi16(1), upper = _mm512_set1_epi32(static_cast<int>(0xFFFF0000));
  __m512i least_less_one = _mm512_set1_epi16(-1);
  F32 even(0), odd(0);
#pragma GCC unroll 16
  for (int k = 0; k < 16; ++k) {
    const __m512i magnitude = _mm512_and_si512(_mm512_loadu_si512(x + k * stride), _mm512_set1_epi16(0x7FFF));
    least_less_one = _mm512_min_epu16(least_less_one, _mm512_sub_epi16(magnitude, one));
    even = even + F32(_mm512_castsi512_ps(_mm512_slli_epi32(magnitude, 16)));
    odd = odd + F32(_mm512_castsi512_ps(_mm512_and_si512(magnitude, upper)));
  }
  const auto is_exact = [](F32 sum, __m512i smallest) {
    const __m512i bits = _mm512_castps_si512(sum.v);
    const __m512i exponent = _mm512_and_si512(smallest, _mm512_set1_epi32(0x7F800000));
    const __m512i above = _mm512_sub_epi32(bits, _mm512_set1_epi32((24 - 134 + 127) << 23));
    return _mm512_cmplt_epi32_mask(above, exponent) &
           _mm512_cmpgt_epi32_mask(exponent, _mm512_set1_epi32(31 << 23)) &
           _mm512_cmplt_epi32_mask(bits, _mm512_set1_epi32(227 << 23));
  };
  bound = F32(0.25f) * larger_pattern(even, odd);
  return (is_exact(even, _mm512_slli_epi32(least_less_one, 16)) & is_exact(odd, least_less_one)) == 0xFFFF;
}

Codes negative(F32 y) {
  return Codes(_mm512_maskz_set1_epi32(_mm512_cmp_ps_mask(y.v, _mm512_setzero_ps(), _CMP_LT_OQ), 8));
}

__m512i absolute(__m512i bits) { return _mm512_and_si512(bits, _mm512_set1_epi32(0x7FFFFFFF)); }

/// 1.5 * 2^23 plus the code of |y|, whose bits are thus the lowest. The code as a real function of a = min(|y|, 6)
/// is the concave minimum of 2a, a + 2, a/2 + 4; adding 1.5 * 2^23 rounds each to an integer by RNE, and codes
/// that are even integers are the even codes. The minimum of the rounded is the rounded minimum. vrangeps takes
/// the smaller magnitude and no sign, and 6 for a quiet NaN, as all are that arithmetic has made.
__m512i with_magnitude(F32 y) {
  constexpr float magic = 0x1.8p23f;
  constexpr int smaller_magnitude = 2, no_sign = 2 << 2;
  const __m512 a = _mm512_range_ps(y.v, _mm512_set1_ps(6), smaller_magnitude | no_sign);
  const __m512 low = _mm512_fmadd_ps(a, _mm512_set1_ps(2), _mm512_set1_ps(magic));
  const __m512 middle = _mm512_add_ps(a, _mm512_set1_ps(magic + 2));
  const __m512 high = _mm512_fmadd_ps(a, _mm512_set1_ps(0.5f), _mm512_set1_ps(magic + 4));
  return _mm512_castps_si512(_mm512_min_ps(_mm512_min_ps(low, middle), high));
}

Codes e2m1_magnitude(F32 y) { return Codes(_mm512_and_si512(with_magnitude(y), _mm512_set1_epi32(7))); }

/// Bits 0-2 from the magnitude, bit 3 from y's sign shifted down to it; no sign for NaN.
Codes e2m1_satfinite(F32 y) {
  const __mmask16 number = _mm512_cmp_ps_mask(y.v, y.v, _CMP_ORD_Q);
  const __m512i sign = _mm512_maskz_srli_epi32(number, _mm512_castps_si512(y.v), 28);
  constexpr int first_picks =
      0xCA;  // vpternlog: bits of the second operand where the first is 1, else the third
  return Codes(_mm512_ternarylogic_epi32(_mm512_set1_epi32(7), with_magnitude(y), sign, first_picks));
}

/// 8 for numbers with a sign.
__m512i sign_code(F32 y) {
  const __mmask16 number = _mm512_cmp_ps_mask(y.v, y.v, _CMP_ORD_Q);
  return _mm512_maskz_and_epi32(number, _mm512_srli_epi32(_mm512_castps_si512(y.v), 28),
                                _mm512_set1_epi32(8));
}

/// The code as a real function, see with_magnitude(), in 256ths and cut to an integer: the minimum of the cut is the
/// cut minimum, and floor(256 a) is half of floor(512 a) cut again. vminps takes 6 for a NaN.
Codes e2m1_carry(F32 y, Codes random) {
  const __m512 a = _mm512_min_ps(abs(y).v, _mm512_set1_ps(6));
  const __m512i low = _mm512_cvttps_epi32(_mm512_mul_ps(a, _mm512_set1_ps(512)));
  const __m512i middle = _mm512_add_epi32(_mm512_srli_epi32(low, 1), _mm512_set1_epi32(512));
  const __m512i high = _mm512_add_epi32(_mm512_srli_epi32(low, 2), _mm512_set1_epi32(1024));
  const __m512i steps = _mm512_min_epi32(_mm512_min_epi32(low, middle), high);
  const __m512i code = _mm512_srli_epi32(_mm512_add_epi32(steps, random.v), 8);
  return Codes(_mm512_or_si512(code, sign_code(y)));
}

/// The product r * step / 256 is exact, so the addition rounds once, as TE's fmaf. Then the same cut in units of a code.
Codes e2m1_te_software(F32 y, Codes random) {
  const __m512 a = abs(y).v;
  const __mmask16 from_2 = _mm512_cmp_ps_mask(a, _mm512_set1_ps(2), _CMP_GE_OQ);
  const __mmask16 from_4 = _mm512_cmp_ps_mask(a, _mm512_set1_ps(4), _CMP_GE_OQ);
  const __m512 lower = _mm512_mask_blend_ps(from_2, _mm512_set1_ps(0x1p-9f), _mm512_set1_ps(0x1p-8f));
  const __m512 step = _mm512_mask_blend_ps(from_4, lower, _mm512_set1_ps(0x1p-7f));
  const __m512 sum = _mm512_add_ps(a, _mm512_mul_ps(_mm512_cvtepi32_ps(random.v), step));
  const __m512i low =
      _mm512_cvttps_epi32(_mm512_mul_ps(_mm512_min_ps(sum, _mm512_set1_ps(6)), _mm512_set1_ps(2)));
  const __m512i middle = _mm512_add_epi32(_mm512_srli_epi32(low, 1), _mm512_set1_epi32(2));
  const __m512i high = _mm512_add_epi32(_mm512_srli_epi32(low, 2), _mm512_set1_epi32(4));
  return Codes(_mm512_or_si512(_mm512_min_epi32(_mm512_min_epi32(low, middle), high), sign_code(y)));
}

/// Normal results: integer RNE at bit 20, where E4M3's mantissa ends. Results below 2^-6: 2^14 has an ulp of
/// 2^-9, E4M3's subnormal step, so one addition rounds and its low bits are the code.
E4M3Scales e4m3_satfinite(F32 t) {
  const __m512 bounded = _mm512_min_ps(t.v, _mm512_set1_ps(448));
  const __m512i bits = _mm512_castps_si512(bounded);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 20), _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFFF))), 20);
  const __m512 shifted = _mm512_add_ps(bounded, _mm512_set1_ps(0x1p14f));
  const __mmask16 small = _mm512_cmp_ps_mask(bounded, _mm512_set1_ps(0x1p-6f), _CMP_LT_OQ);
  const __m512i code = _mm512_mask_and_epi32(_mm512_sub_epi32(rounded, _mm512_set1_epi32(120 << 3)), small,
                                             _mm512_castps_si512(shifted), _mm512_set1_epi32(0xF));
  const __m512 value = _mm512_mask_sub_ps(_mm512_castsi512_ps(_mm512_slli_epi32(rounded, 20)), small, shifted,
                                          _mm512_set1_ps(0x1p14f));
  const Mask nan = is_nan(t);
  return {select(nan, Codes(0x7F), Codes(code)), select(nan, t, F32(value))};
}

std::uint32_t F32::amax_bits(const float* x, std::int64_t count) {
  __m512i m[4] = {};
  std::int64_t i = 0;
  for (; i + 64 <= count; i += 64)
    for (int k = 0; k < 4; ++k) m[k] = _mm512_max_epu32(m[k], absolute(_mm512_loadu_si512(x + i + 16 * k)));
  for (; i < count; i += 16) {
    const auto live = static_cast<__mmask16>(count - i >= 16 ? 0xFFFF : (1u << (count - i)) - 1);
    m[0] = _mm512_max_epu32(m[0], absolute(_mm512_maskz_loadu_epi32(live, x + i)));
  }
  return _mm512_reduce_max_epu32(
      _mm512_max_epu32(_mm512_max_epu32(m[0], m[1]), _mm512_max_epu32(m[2], m[3])));
}

std::uint32_t F32::amax_bits16(const std::uint16_t* x, std::int64_t count) {
  const __m512i magnitude = _mm512_set1_epi16(0x7FFF);
  __m512i m[4] = {};
  std::int64_t i = 0;
  for (; i + 128 <= count; i += 128)
    for (int k = 0; k < 4; ++k)
      m[k] = _mm512_max_epu16(m[k], _mm512_and_si512(_mm512_loadu_si512(x + i + 32 * k), magnitude));
  for (; i < count; i += 32) {
    const auto live = static_cast<__mmask32>(count - i >= 32 ? 0xFFFFFFFFu : (1u << (count - i)) - 1);
    m[0] = _mm512_max_epu16(m[0], _mm512_and_si512(_mm512_maskz_loadu_epi16(live, x + i), magnitude));
  }
  const __m512i all = _mm512_max_epu16(_mm512_max_epu16(m[0], m[1]), _mm512_max_epu16(m[2], m[3]));
  return _mm512_reduce_max_epu32(_mm512_max_epu16(all, _mm512_srli_epi32(all, 16)) &
                                 _mm512_set1_epi32(0xFFFF));
}

/// Sixteen vectors of one block each to one vector of sixteen maxima, in order of block.
F32 F32::block_maxima(const float* x, std::int64_t stride, std::int64_t rows) {
  __m512i m[16];
  for (int b = 0; b < 16; ++b) {
    m[b] = absolute(_mm512_loadu_si512(x + 16 * b));
    for (std::int64_t r = 1; r < rows; ++r)
      m[b] = _mm512_max_epu32(m[b], absolute(_mm512_loadu_si512(x + r * stride + 16 * b)));
  }
  for (int b = 0; b < 8; ++b)
    m[b] = _mm512_max_epu32(_mm512_unpacklo_epi32(m[2 * b], m[2 * b + 1]),
                            _mm512_unpackhi_epi32(m[2 * b], m[2 * b + 1]));
  for (int b = 0; b < 4; ++b)
    m[b] = _mm512_max_epu32(_mm512_unpacklo_epi64(m[2 * b], m[2 * b + 1]),
                            _mm512_unpackhi_epi64(m[2 * b], m[2 * b + 1]));
  for (int b = 0; b < 2; ++b)
    m[b] = _mm512_max_epu32(_mm512_shuffle_i32x4(m[2 * b], m[2 * b + 1], 0x44),
                            _mm512_shuffle_i32x4(m[2 * b], m[2 * b + 1], 0xEE));
  return F32(_mm512_castsi512_ps(
      _mm512_max_epu32(_mm512_shuffle_i32x4(m[0], m[1], 0x88), _mm512_shuffle_i32x4(m[0], m[1], 0xDD))));
}

/// Eight vectors of two 16-bit blocks each to sixteen maxima. Dwords hold two elements until the last step.
__m512i F32::block_maxima16(const std::uint16_t* x, std::int64_t stride, std::int64_t rows) {
  const __m512i magnitude = _mm512_set1_epi16(0x7FFF);
  __m512i m[8];
  for (int b = 0; b < 8; ++b) {
    m[b] = _mm512_and_si512(_mm512_loadu_si512(x + 32 * b), magnitude);
    for (std::int64_t r = 1; r < rows; ++r)
      m[b] = _mm512_max_epu16(m[b], _mm512_and_si512(_mm512_loadu_si512(x + r * stride + 32 * b), magnitude));
  }
  for (int b = 0; b < 4; ++b)
    m[b] = _mm512_max_epu16(_mm512_unpacklo_epi32(m[2 * b], m[2 * b + 1]),
                            _mm512_unpackhi_epi32(m[2 * b], m[2 * b + 1]));
  for (int b = 0; b < 2; ++b)
    m[b] = _mm512_max_epu16(_mm512_unpacklo_epi64(m[2 * b], m[2 * b + 1]),
                            _mm512_unpackhi_epi64(m[2 * b], m[2 * b + 1]));
  // m[0], m[1]: 128-bit lanes {blocks 0 2 4 6 | same | 1 3 5 7 | same} and {8 10 12 14 | same | 9 11 13 15 | same}.
  const __m512i all =
      _mm512_max_epu16(_mm512_shuffle_i32x4(m[0], m[1], 0x88), _mm512_shuffle_i32x4(m[0], m[1], 0xDD));
  const __m512i order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
  const __m512i pairs = _mm512_permutexvar_epi32(order, all);
  return _mm512_and_si512(_mm512_max_epu16(pairs, _mm512_srli_epi32(pairs, 16)), _mm512_set1_epi32(0xFFFF));
}

/// Bytes of elements 0-3 | 4-7 | 8-11 | 12-15 of blocks b .. b+3, four a block in each 128-bit lane; then
/// low + 16 * high of each pair as 16-bit words.
__m512i pairs(const Codes* b) {
  const __m512i bytes =
      _mm512_packus_epi16(_mm512_packs_epi32(b[0].v, b[1].v), _mm512_packs_epi32(b[2].v, b[3].v));
  return _mm512_maddubs_epi16(bytes, _mm512_set1_epi16(0x1001));
}

/// codes[b] is block b; qword b of the result is its packed codes. Each 128-bit lane holds two bytes of every
/// block, so a permutation of 16-bit words, word l of block b from place 8l + b, finishes.
inline void F32::store_packed(const Codes* codes, std::uint8_t* out) {
  const __m512i packed = _mm512_packus_epi16(pairs(codes), pairs(codes + 4));
  alignas(64) static constexpr std::uint16_t order[32] = {0,  8,  16, 24, 1,  9,  17, 25, 2,  10, 18,
                                                          26, 3,  11, 19, 27, 4,  12, 20, 28, 5,  13,
                                                          21, 29, 6,  14, 22, 30, 7,  15, 23, 31};
  _mm512_storeu_si512(out, _mm512_permutexvar_epi16(_mm512_load_si512(order), packed));
}

Codes two_nibbles(Codes low, Codes high) {
  return Codes(_mm512_or_si512(low.v, _mm512_slli_epi32(high.v, 4)));
}

/// The lowest byte of every dword, in order. Packing leaves dword l of vector i at place 4l + i.
inline void F32::store_bytes(const Codes* c, std::uint8_t* out) {
  const __m512i packed =
      _mm512_packus_epi16(_mm512_packus_epi32(c[0].v, c[1].v), _mm512_packus_epi32(c[2].v, c[3].v));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  _mm512_storeu_si512(out, _mm512_permutexvar_epi32(order, packed));
}

F32 F32::e2m1_value(Codes code) { return F32(e2m1_values_of(code.v)); }

F32 F32::e2m1_values(const std::uint8_t* packed, int) { return F32(e2m1_values_of(packed)); }

}  // namespace

const Table* avx512() {
  const bool here = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return here ? &Engine<F32>::table : nullptr;
}

}  // namespace nvfp4::isa
#else
namespace nvfp4::isa {
const Table* avx512() { return nullptr; }
}  // namespace nvfp4::isa
#endif
