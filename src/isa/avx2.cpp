#include "block_tiles.hpp"
#include "isa.hpp"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>

#include "engine.hpp"

namespace nvfp4::isa {
namespace {

struct Mask {
  __m256 m;
};

struct Codes {
  __m256i v;
  Codes() = default;
  explicit Codes(int x) : v(_mm256_set1_epi32(x)) {}
  explicit Codes(__m256i v) : v(v) {}
  static Codes load(const std::uint32_t* codes) {
    return Codes(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
  }
  /// A byte each, widened.
  static Codes load_bytes(const std::uint8_t* bytes) {
    return Codes(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes))));
  }
  struct Pairs;
  void store(std::uint32_t* out) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), v); }
  void store_bytes(std::uint8_t* out) const {
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_packus_epi16(words, words));
  }
};

/// The bytes of 16 elements.
struct Codes::Pairs {
  __m256i words;
  explicit Pairs(const std::uint8_t* bytes)
      : words(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)))) {}
  Codes even() const { return Codes(_mm256_and_si256(words, _mm256_set1_epi32(0xFF))); }
  Codes odd() const { return Codes(_mm256_srli_epi32(words, 8)); }
};
/// See philox.hpp. Lanes hold counters 0, 2, 1, 3, for the stores' sake.
struct Wide {
  static constexpr int lanes = 4;
  __m256i v;
  Wide() = default;
  explicit Wide(std::uint32_t word) : v(_mm256_set1_epi64x(word)) {}
  explicit Wide(__m256i v) : v(v) {}
  static Wide counters(std::uint32_t first) {
    return Wide(_mm256_add_epi32(Wide(first).v, _mm256_setr_epi64x(0, 2, 1, 3)));
  }
  static void store(const Wide* word, std::uint32_t* out) {
    const auto pair = [](Wide a, Wide b) {
      return _mm256_blend_epi32(a.v, _mm256_slli_epi64(b.v, 32), 0xAA);
    };
    const __m256i low = pair(word[0], word[1]), high = pair(word[2], word[3]);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_unpacklo_epi64(low, high));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8), _mm256_unpackhi_epi64(low, high));
  }
};
Wide operator^(Wide a, Wide b) { return Wide(_mm256_xor_si256(a.v, b.v)); }
Wide product(Wide a, std::uint32_t b) { return Wide(_mm256_mul_epu32(a.v, Wide(b).v)); }
Wide upper(Wide a) { return Wide(_mm256_srli_epi64(a.v, 32)); }

struct F32 {
  using Code = Codes;
  using Wide = nvfp4::isa::Wide;
  static constexpr int lanes = 8;
  static constexpr int packed_blocks = 4;  ///< 32 bytes of codes
  __m256 v;
  static constexpr const Tiles* tiles = &avx2_tiles;
  static constexpr auto block_tiles = avx2_block_tiles;

  explicit F32(float x) : v(_mm256_set1_ps(x)) {}
  explicit F32(__m256 v) : v(v) {}
  static constexpr bool fuses = true;  ///< multiply_add is one instruction
  void store(float* out) const { _mm256_storeu_ps(out, v); }
  void narrow(float* out) const { store(out); }
  void narrow(Bf16* out) const;

  static F32 load(const float* x) { return F32(_mm256_loadu_ps(x)); }
  static F32 load(const Bf16* x) {
    return F32(_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(x)), 16)));
  }
  static F32 load(const Fp16* x) { return F32(_mm256_cvtph_ps(load128(x))); }

  static float widen(float x) { return x; }
  static float widen(Bf16 x) { return __builtin_bit_cast(float, static_cast<std::uint32_t>(x.bits) << 16); }
  static float widen(Fp16 x) { return _cvtsh_ss(x.bits); }

  static std::uint32_t amax_bits(const float* x, std::int64_t count);
  static std::uint32_t amax_bits(const Bf16* x, std::int64_t count) { return amax_bits16(&x->bits, count); }
  static std::uint32_t amax_bits(const Fp16* x, std::int64_t count) { return amax_bits16(&x->bits, count); }

  static F32 block_maxima(const float* x, std::int64_t stride, std::int64_t rows);
  static F32 block_maxima(const Bf16* x, std::int64_t stride, std::int64_t rows) {
    return F32(_mm256_castsi256_ps(_mm256_slli_epi32(block_maxima16(&x->bits, stride, rows), 16)));
  }
  static F32 block_maxima(const Fp16* x, std::int64_t stride, std::int64_t rows) {
    const __m256i m = block_maxima16(&x->bits, stride, rows);
    return F32(_mm256_cvtph_ps(_mm_packus_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1))));
  }

  [[gnu::always_inline]] static void store_packed(const Codes* codes, std::uint8_t* out);

  struct Split;
  /// One block; dword i has elements 2i and 2i + 1, the upper halves of FP32 numbers.
  static Split split(const Bf16* x);
  static F32 eight_each(const float* one) { return F32(*one); }
  [[gnu::always_inline]] static void store_bytes(const Codes* bytes, std::uint8_t* out);
  static bool exact_sums(const Bf16* x, std::int64_t stride, F32& bound);
  static void turn_dwords(const std::uint32_t* from, std::int64_t stride, std::uint32_t* to,
                          std::int64_t to_stride);
  static F32 e2m1_values(const std::uint8_t* packed, int part);
  static F32 e2m1_value(Codes);

 private:
  static __m128i load128(const void* x) { return _mm_loadu_si128(static_cast<const __m128i*>(x)); }
  static std::uint32_t amax_bits16(const std::uint16_t* x, std::int64_t count);
  static __m256i block_maxima16(const std::uint16_t* x, std::int64_t stride, std::int64_t rows);
};

struct F32::Split {
  F32 even, odd;
};

F32::Split F32::split(const Bf16* x) {
  const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
  const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xFFFF0000));
  return {F32(_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16))),
          F32(_mm256_castsi256_ps(_mm256_and_si256(pairs, upper)))};
}

struct E4M3Scales {
  Codes code;
  F32 value;
};

Codes operator|(Codes a, Codes b) { return Codes(_mm256_or_si256(a.v, b.v)); }
F32 operator*(F32 a, F32 b) { return F32(_mm256_mul_ps(a.v, b.v)); }
F32 operator/(F32 a, F32 b) { return F32(_mm256_div_ps(a.v, b.v)); }
F32 operator+(F32 a, F32 b) { return F32(_mm256_add_ps(a.v, b.v)); }
F32 operator-(F32 a, F32 b) { return F32(_mm256_sub_ps(a.v, b.v)); }
F32 abs(F32 a) { return F32(_mm256_andnot_ps(_mm256_set1_ps(-0.f), a.v)); }
Mask operator<(F32 a, F32 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
Mask has_sign(F32 a) { return {a.v}; }  // vblendvps looks at sign bits alone
Mask operator==(F32 a, F32 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
Mask operator|(Mask a, Mask b) { return {_mm256_or_ps(a.m, b.m)}; }
Mask is_nan(F32 a) { return {_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q)}; }
bool any(Mask a) { return _mm256_movemask_ps(a.m) != 0; }
bool any_nan(F32 a) { return any(is_nan(a)); }
F32 select(Mask m, F32 x, F32 y) { return F32(_mm256_blendv_ps(y.v, x.v, m.m)); }
Codes select(Mask m, Codes x, Codes y) {
  return Codes(
      _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(y.v), _mm256_castsi256_ps(x.v), m.m)));
}
// vminps returns its second operand where either is NaN.
F32 min_num(F32 a, F32 bound) { return F32(_mm256_min_ps(a.v, bound.v)); }
F32 min_nan(F32 a, F32 bound) { return F32(_mm256_min_ps(bound.v, a.v)); }
F32 max_nan(F32 a, F32 bound) { return F32(_mm256_max_ps(bound.v, a.v)); }

/// Of numbers without sign, as integers: a NaN is above Inf.
F32 larger_pattern(F32 a, F32 b) {
  return F32(_mm256_castsi256_ps(_mm256_max_epu32(_mm256_castps_si256(a.v), _mm256_castps_si256(b.v))));
}

/// Eight codes a lane, the first in the lowest nibble. Of each the lower half counts: e2m1_satfinite().
Codes eight_nibbles(const Codes* c) {
  const auto join = [](__m256i low, __m256i high, int bits) {
    return _mm256_or_si256(low, _mm256_slli_epi32(high, bits));
  };
  const auto four = [&](const Codes* d) { return join(join(d[0].v, d[1].v, 4), join(d[2].v, d[3].v, 4), 8); };
  return Codes(_mm256_blend_epi16(four(c), _mm256_slli_epi32(four(c + 4), 16), 0xAA));
}

/// Eight rows of eight dwords, turned.
void F32::turn_dwords(const std::uint32_t* from, std::int64_t stride, std::uint32_t* to,
                      std::int64_t to_stride) {
  __m256i quads[8];
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    const auto row = [&](int r) {
      return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + (i + r) * stride));
    };
    const __m256i low01 = _mm256_unpacklo_epi32(row(0), row(1)),
                  low23 = _mm256_unpacklo_epi32(row(2), row(3));
    const __m256i high01 = _mm256_unpackhi_epi32(row(0), row(1)),
                  high23 = _mm256_unpackhi_epi32(row(2), row(3));
    quads[i] = _mm256_unpacklo_epi64(low01, low23);
    quads[i + 1] = _mm256_unpackhi_epi64(low01, low23);
    quads[i + 2] = _mm256_unpacklo_epi64(high01, high23);
    quads[i + 3] = _mm256_unpackhi_epi64(high01, high23);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const auto store = [&](int column, __m256i v) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + column * to_stride), v);
    };
    store(c, _mm256_permute2x128_si256(quads[c], quads[c + 4], 0x20));
    store(c + 4, _mm256_permute2x128_si256(quads[c], quads[c + 4], 0x31));
  }
}

F32 ftz(F32 a) {
  const __m256 sign = _mm256_and_ps(a.v, _mm256_set1_ps(-0.f));
  return F32(_mm256_blendv_ps(a.v, sign, (abs(a) < F32(0x1p-126f)).m));
}

/// RNE at bit 16 of the pattern; a carry out of the mantissa moves up a binade, at the end to Inf.
F32 to_bf16(F32 a) {
  const __m256i bits = _mm256_castps_si256(a.v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i sum = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
  const __m256 rounded =
      _mm256_castsi256_ps(_mm256_and_si256(sum, _mm256_set1_epi32(static_cast<int>(0xFFFF0000))));
  return select(is_nan(a), F32(__builtin_nanf("")), F32(rounded));
}

void F32::narrow(Bf16* out) const {
  const __m256i upper = _mm256_srli_epi32(_mm256_castps_si256(to_bf16(*this).v), 16);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1)));
}

Codes operator+(Codes a, Codes b) { return Codes(_mm256_add_epi32(a.v, b.v)); }
Codes operator-(Codes a, Codes b) { return Codes(_mm256_sub_epi32(a.v, b.v)); }
Codes operator<<(Codes a, int bits) { return Codes(_mm256_slli_epi32(a.v, bits)); }
F32 multiply_add(F32 a, F32 b, F32 c) { return F32(_mm256_fmadd_ps(a.v, b.v, c.v)); }

/// The power of two at or below a > 0, of normal numbers.
F32 binade(F32 a) { return F32(_mm256_and_ps(a.v, _mm256_set1_ps(__builtin_inff()))); }
Codes cut_to_integer(F32 a) { return Codes(_mm256_cvttps_epi32(a.v)); }

/// The FP32 numbers next to integers below 2^31, towards zero: one pattern less where RNE went away from it.
F32 toward_zero(Codes n) {
  const __m256 nearest = _mm256_cvtepi32_ps(n.v);
  const __m256i back = _mm256_cvttps_epi32(nearest);
  const __m256i beyond = _mm256_cmpgt_epi32(_mm256_abs_epi32(back), _mm256_abs_epi32(n.v));
  return F32(_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(nearest), beyond)));
}

Codes negative(F32 y) {
  const __m256 below = _mm256_cmp_ps(y.v, _mm256_setzero_ps(), _CMP_LT_OQ);
  return Codes(_mm256_and_si256(_mm256_castps_si256(below), _mm256_set1_epi32(8)));
}

__m256i absolute(__m256i bits) { return _mm256_and_si256(bits, _mm256_set1_epi32(0x7FFFFFFF)); }
__m256i load(const void* x) { return _mm256_loadu_si256(static_cast<const __m256i*>(x)); }

/// See avx512.cpp: three roundings by 1.5 * 2^23, then minima. The code's dword is exact in its lower half only.
__m256 with_magnitude(F32 y) {
  constexpr float magic = 0x1.8p23f;
  const __m256 a = abs(y).v;
  const __m256 low = _mm256_fmadd_ps(a, _mm256_set1_ps(2), _mm256_set1_ps(magic));
  const __m256 middle = _mm256_add_ps(a, _mm256_set1_ps(magic + 2));
  const __m256 high = _mm256_fmadd_ps(a, _mm256_set1_ps(0.5f), _mm256_set1_ps(magic + 4));
  return _mm256_min_ps(_mm256_min_ps(_mm256_min_ps(low, middle), high), _mm256_set1_ps(magic + 7));
}

Codes e2m1_magnitude(F32 y) {
  return Codes(_mm256_and_si256(_mm256_castps_si256(with_magnitude(y)), _mm256_set1_epi32(7)));
}

/// vminps makes a NaN +Inf, which has no sign to keep. Above the code's four bits the dword holds 1.5 * 2^23's: both
/// ways to pack cut them off.
Codes e2m1_satfinite(F32 y) {
  const __m256 sign =
      _mm256_and_ps(_mm256_min_ps(y.v, _mm256_set1_ps(__builtin_inff())), _mm256_set1_ps(-0.f));
  return Codes(_mm256_or_si256(_mm256_castps_si256(with_magnitude(y)),
                               _mm256_srli_epi32(_mm256_castps_si256(sign), 28)));
}

/// See avx512.cpp.
__m256i sign_code(F32 y) {
  const __m256 number = _mm256_min_ps(y.v, _mm256_set1_ps(__builtin_inff()));  // a NaN becomes +Inf
  return _mm256_and_si256(_mm256_srli_epi32(_mm256_castps_si256(number), 28), _mm256_set1_epi32(8));
}

Codes e2m1_carry(F32 y, Codes random) {
  const __m256 a = _mm256_min_ps(abs(y).v, _mm256_set1_ps(6));
  const __m256i low = _mm256_cvttps_epi32(_mm256_mul_ps(a, _mm256_set1_ps(512)));
  const __m256i middle = _mm256_add_epi32(_mm256_srli_epi32(low, 1), _mm256_set1_epi32(512));
  const __m256i high = _mm256_add_epi32(_mm256_srli_epi32(low, 2), _mm256_set1_epi32(1024));
  const __m256i steps = _mm256_min_epi32(_mm256_min_epi32(low, middle), high);
  const __m256i code = _mm256_srli_epi32(_mm256_add_epi32(steps, random.v), 8);
  return Codes(_mm256_or_si256(code, sign_code(y)));
}

Codes e2m1_te_software(F32 y, Codes random) {
  const __m256 a = abs(y).v;
  const __m256 quarter = _mm256_set1_ps(0x1p-9f), half = _mm256_set1_ps(0x1p-8f),
               one = _mm256_set1_ps(0x1p-7f);
  const __m256 upper = _mm256_blendv_ps(half, one, _mm256_cmp_ps(a, _mm256_set1_ps(4), _CMP_GE_OQ));
  const __m256 step = _mm256_blendv_ps(quarter, upper, _mm256_cmp_ps(a, _mm256_set1_ps(2), _CMP_GE_OQ));
  const __m256 sum = _mm256_add_ps(a, _mm256_mul_ps(_mm256_cvtepi32_ps(random.v), step));
  const __m256i low =
      _mm256_cvttps_epi32(_mm256_mul_ps(_mm256_min_ps(sum, _mm256_set1_ps(6)), _mm256_set1_ps(2)));
  const __m256i middle = _mm256_add_epi32(_mm256_srli_epi32(low, 1), _mm256_set1_epi32(2));
  const __m256i high = _mm256_add_epi32(_mm256_srli_epi32(low, 2), _mm256_set1_epi32(4));
  return Codes(_mm256_or_si256(_mm256_min_epi32(_mm256_min_epi32(low, middle), high), sign_code(y)));
}

/// See avx512.cpp: integer RNE at bit 20, and below 2^-6 one addition of 2^14.
E4M3Scales e4m3_satfinite(F32 t) {
  const __m256 bounded = _mm256_min_ps(t.v, _mm256_set1_ps(448));
  const __m256i bits = _mm256_castps_si256(bounded);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 20), _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFFF))), 20);
  const __m256 shifted = _mm256_add_ps(bounded, _mm256_set1_ps(0x1p14f));
  const Mask small{_mm256_cmp_ps(bounded, _mm256_set1_ps(0x1p-6f), _CMP_LT_OQ)};
  const Codes low(_mm256_and_si256(_mm256_castps_si256(shifted), _mm256_set1_epi32(0xF)));
  const Codes code = select(small, low, Codes(_mm256_sub_epi32(rounded, _mm256_set1_epi32(120 << 3))));
  const F32 value = select(small, F32(_mm256_sub_ps(shifted, _mm256_set1_ps(0x1p14f))),
                           F32(_mm256_castsi256_ps(_mm256_slli_epi32(rounded, 20))));
  const Mask nan = is_nan(t);
  return {select(nan, Codes(0x7F), code), select(nan, t, value)};
}

std::uint32_t greatest_lane(__m256i m) {
  std::uint32_t lane[8];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lane), m);
  std::uint32_t greatest = 0;
  for (std::uint32_t x : lane) greatest = x > greatest ? x : greatest;
  return greatest;
}

std::uint32_t F32::amax_bits(const float* x, std::int64_t count) {
  __m256i m[4] = {};
  std::int64_t i = 0;
  for (; i + 32 <= count; i += 32)
    for (int k = 0; k < 4; ++k) m[k] = _mm256_max_epu32(m[k], absolute(nvfp4::isa::load(x + i + 8 * k)));
  std::uint32_t greatest =
      greatest_lane(_mm256_max_epu32(_mm256_max_epu32(m[0], m[1]), _mm256_max_epu32(m[2], m[3])));
  for (; i < count; ++i) {
    const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, x[i]) & 0x7FFFFFFF;
    greatest = bits > greatest ? bits : greatest;
  }
  return greatest;
}

std::uint32_t F32::amax_bits16(const std::uint16_t* x, std::int64_t count) {
  const __m256i magnitude = _mm256_set1_epi16(0x7FFF);
  __m256i m[4] = {};
  std::int64_t i = 0;
  for (; i + 64 <= count; i += 64)
    for (int k = 0; k < 4; ++k)
      m[k] = _mm256_max_epu16(m[k], _mm256_and_si256(nvfp4::isa::load(x + i + 16 * k), magnitude));
  const __m256i all = _mm256_max_epu16(_mm256_max_epu16(m[0], m[1]), _mm256_max_epu16(m[2], m[3]));
  const __m256i folded = _mm256_max_epu16(all, _mm256_srli_epi32(all, 16));
  std::uint32_t greatest = greatest_lane(_mm256_and_si256(folded, _mm256_set1_epi32(0xFFFF)));
  for (; i < count; ++i) {
    const std::uint32_t bits = x[i] & 0x7FFFu;
    greatest = bits > greatest ? bits : greatest;
  }
  return greatest;
}

/// Whether, of each of 16 columns, the 16 rows' numbers have sums that are exact however they are made; and if so a
/// bound of 1/4 of any, with any signs. With u the last bit of the smallest that is not 0, all are multiples of u, and
/// so is every partial sum, none of which is above the sum of magnitudes: if that is below 2^24 u, FP32 holds them
/// all, and this sum, too, is exact until it is not below. A tensor core cuts nothing either: its 25 bits below the
/// largest exponent reach to u. Only from u = 2^-102 to sums of 2^100, so that exact_to() stays among normal numbers.
bool F32::exact_sums(const Bf16* x, std::int64_t stride, F32& bound) {
  const __m256i one = _mm256_set1_epi16(1), upper = _mm256_set1_epi32(static_cast<int>(0xFFFF0000));
  __m256i least_less_one = _mm256_set1_epi16(-1);  // a zero leaves it
  F32 even(0), odd(0);
#pragma GCC unroll 16
  for (int k = 0; k < 16; ++k) {
    const __m256i magnitude = _mm256_and_si256(nvfp4::isa::load(x + k * stride), _mm256_set1_epi16(0x7FFF));
    least_less_one = _mm256_min_epu16(least_less_one, _mm256_sub_epi16(magnitude, one));
    even = even + F32(_mm256_castsi256_ps(_mm256_slli_epi32(magnitude, 16)));
    odd = odd + F32(_mm256_castsi256_ps(_mm256_and_si256(magnitude, upper)));
  }
  const auto is_exact = [](F32 sum, __m256i smallest) {
    const __m256i bits = _mm256_castps_si256(sum.v);
    const __m256i exponent = _mm256_and_si256(smallest, _mm256_set1_epi32(0x7F800000));  // u is 134 below
    const __m256i above = _mm256_sub_epi32(bits, _mm256_set1_epi32((24 - 134 + 127) << 23));
    const __m256i inside = _mm256_and_si256(_mm256_cmpgt_epi32(exponent, _mm256_set1_epi32(31 << 23)),
                                            _mm256_cmpgt_epi32(_mm256_set1_epi32(227 << 23), bits));
    return _mm256_and_si256(_mm256_cmpgt_epi32(exponent, above), inside);
  };
  bound = F32(0.25f) * larger_pattern(even, odd);
  return _mm256_movemask_epi8(_mm256_and_si256(is_exact(even, _mm256_slli_epi32(least_less_one, 16)),
                                               is_exact(odd, least_less_one))) == -1;
}

/// Eight blocks, already one vector each, to their eight maxima in order.
F32 F32::block_maxima(const float* x, std::int64_t stride, std::int64_t rows) {
  const auto both_halves = [](const float* block) {
    return _mm256_max_epu32(absolute(nvfp4::isa::load(block)), absolute(nvfp4::isa::load(block + 8)));
  };
  __m256i m[8];
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) m[b] = both_halves(x + 16 * b);
  for (std::int64_t r = 1; r < rows; ++r)
#pragma GCC unroll 8
    for (int b = 0; b < 8; ++b) m[b] = _mm256_max_epu32(m[b], both_halves(x + r * stride + 16 * b));
  for (int b = 0; b < 4; ++b)
    m[b] = _mm256_max_epu32(_mm256_unpacklo_epi32(m[2 * b], m[2 * b + 1]),
                            _mm256_unpackhi_epi32(m[2 * b], m[2 * b + 1]));
  for (int b = 0; b < 2; ++b)
    m[b] = _mm256_max_epu32(_mm256_unpacklo_epi64(m[2 * b], m[2 * b + 1]),
                            _mm256_unpackhi_epi64(m[2 * b], m[2 * b + 1]));
  return F32(_mm256_castsi256_ps(_mm256_max_epu32(_mm256_permute2x128_si256(m[0], m[1], 0x20),
                                                  _mm256_permute2x128_si256(m[0], m[1], 0x31))));
}

/// One vector of 16 elements a block; dwords hold two elements until the last step.
__m256i F32::block_maxima16(const std::uint16_t* x, std::int64_t stride, std::int64_t rows) {
  const __m256i magnitude = _mm256_set1_epi16(0x7FFF);
  const auto magnitudes = [&](const std::uint16_t* block) {
    return _mm256_and_si256(nvfp4::isa::load(block), magnitude);
  };
  __m256i m[8];
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) m[b] = magnitudes(x + 16 * b);
  for (std::int64_t r = 1; r < rows; ++r)
#pragma GCC unroll 8
    for (int b = 0; b < 8; ++b) m[b] = _mm256_max_epu16(m[b], magnitudes(x + r * stride + 16 * b));
  for (int b = 0; b < 4; ++b)
    m[b] = _mm256_max_epu16(_mm256_unpacklo_epi32(m[2 * b], m[2 * b + 1]),
                            _mm256_unpackhi_epi32(m[2 * b], m[2 * b + 1]));
  for (int b = 0; b < 2; ++b)
    m[b] = _mm256_max_epu16(_mm256_unpacklo_epi64(m[2 * b], m[2 * b + 1]),
                            _mm256_unpackhi_epi64(m[2 * b], m[2 * b + 1]));
  const __m256i pairs = _mm256_max_epu16(_mm256_permute2x128_si256(m[0], m[1], 0x20),
                                         _mm256_permute2x128_si256(m[0], m[1], 0x31));
  return _mm256_and_si256(_mm256_max_epu16(pairs, _mm256_srli_epi32(pairs, 16)), _mm256_set1_epi32(0xFFFF));
}

/// Two blocks of two vectors each; words of low + 16 * high. Lane 0 has elements 0-3 and 8-11, lane 1 the others.
__m256i pairs(const Codes* c) {
  const auto nibble = [&](int i) { return _mm256_and_si256(c[i].v, _mm256_set1_epi32(15)); };
  const __m256i bytes =
      _mm256_packus_epi16(_mm256_packs_epi32(nibble(0), nibble(1)), _mm256_packs_epi32(nibble(2), nibble(3)));
  return _mm256_maddubs_epi16(bytes, _mm256_set1_epi16(0x1001));
}

/// codes[2b], codes[2b + 1] are block b.
inline void F32::store_packed(const Codes* codes, std::uint8_t* out) {
  const __m256i packed = _mm256_packus_epi16(pairs(codes), pairs(codes + 4));
  const __m128i outer = _mm256_castsi256_si128(packed), inner = _mm256_extracti128_si256(packed, 1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi16(outer, inner));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16), _mm_unpackhi_epi16(outer, inner));
}

Codes two_nibbles(Codes low, Codes high) {
  return Codes(
      _mm256_and_si256(_mm256_or_si256(low.v, _mm256_slli_epi32(high.v, 4)), _mm256_set1_epi32(0xFF)));
}

/// The lowest byte of every dword, in order. Packing leaves dword l of vector i at place 4l + i.
inline void F32::store_bytes(const Codes* c, std::uint8_t* out) {
  const __m256i packed =
      _mm256_packus_epi16(_mm256_packus_epi32(c[0].v, c[1].v), _mm256_packus_epi32(c[2].v, c[3].v));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permutevar8x32_epi32(packed, order));
}

/// In the low four bits of each lane; higher bits are ignored.
F32 F32::e2m1_value(Codes code) {
  const __m256 magnitude = _mm256_permutevar8x32_ps(_mm256_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6), code.v);
  const __m256i sign = _mm256_slli_epi32(_mm256_srli_epi32(code.v, 3), 31);
  return F32(_mm256_or_ps(magnitude, _mm256_castsi256_ps(sign)));
}

F32 F32::e2m1_values(const std::uint8_t* packed, int part) {
  int eight;
  std::memcpy(&eight, packed + 4 * part, 4);
  const __m256i shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
  return e2m1_value(Codes(_mm256_srlv_epi32(_mm256_set1_epi32(eight), shifts)));
}

}  // namespace

const Table* avx2() {
  const bool here =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");  // F16C is older than AVX2
  return here ? &Engine<F32>::table : nullptr;
}

}  // namespace nvfp4::isa
#else
namespace nvfp4::isa {
const Table* avx2() { return nullptr; }
}  // namespace nvfp4::isa
#endif
