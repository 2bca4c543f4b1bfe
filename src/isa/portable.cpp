#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "engine.hpp"

/// Four lanes in the compilers' own vector types: any processor.
namespace nvfp4::isa {
namespace {

using Floats = float __attribute__((vector_size(16)));
using Ints = std::int32_t __attribute__((vector_size(16)));
using Halves = std::int16_t __attribute__((vector_size(16)));

Floats floats(Ints bits) { return __builtin_bit_cast(Floats, bits); }
Ints ints(Floats x) { return __builtin_bit_cast(Ints, x); }
Ints blend(Ints mask, Ints x, Ints y) { return (mask & x) | (~mask & y); }

/// b where either is NaN. GCC 12 does not always find the one instruction that this is.
Floats least(Floats a, Floats b) {
#if defined(__SSE__)
  return _mm_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}

Ints greatest(Ints a, Ints b) { return blend(a > b, a, b); }
Halves greatest(Halves a, Halves b) { return a > b ? a : b; }

template <class V>
V load_vector(const void* from) {
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

struct Mask {
  Ints m;
};

struct Codes {
  Ints v;
  Codes() = default;
  explicit Codes(int x) : v(Ints{} + x) {}
  explicit Codes(Ints v) : v(v) {}
  void store_bytes(std::uint8_t* out) const {
    for (int i = 0; i < 4; ++i) out[i] = static_cast<std::uint8_t>(v[i]);
  }
};

struct F32 {
  using Code = Codes;
  static constexpr int lanes = 4;
  static constexpr int packed_blocks = 2;  ///< 16 bytes of codes
  Floats v;

  explicit F32(float x) : v(Floats{x, x, x, x}) {}
  explicit F32(Floats v) : v(v) {}
  void store(float* out) const { std::memcpy(out, &v, sizeof v); }

  static F32 load(const float* x) { return F32(load_vector<Floats>(x)); }
  static F32 load(const Bf16* x) { return F32(floats(upper_halves(x))); }
  static F32 load(const Fp16* x) { return F32(widen_fp16(upper_halves(x))); }

  static float widen(float x) { return x; }
  static float widen(Bf16 x) { return __builtin_bit_cast(float, static_cast<std::uint32_t>(x.bits) << 16); }
  static float widen(Fp16 x) { return widen_fp16(Ints{} + (x.bits << 16))[0]; }

  static std::uint32_t amax_bits(const float* x, std::int64_t count);
  static std::uint32_t amax_bits(const Bf16* x, std::int64_t count) { return amax_bits16(&x->bits, count); }
  static std::uint32_t amax_bits(const Fp16* x, std::int64_t count) { return amax_bits16(&x->bits, count); }

  static F32 block_maxima(const float* x, std::int64_t stride, std::int64_t rows);
  static F32 block_maxima(const Bf16* x, std::int64_t stride, std::int64_t rows) {
    return F32(floats(block_maxima16(x, stride, rows)));
  }
  static F32 block_maxima(const Fp16* x, std::int64_t stride, std::int64_t rows) {
    return F32(widen_fp16(block_maxima16(x, stride, rows)));
  }

  static void store_packed(const Codes* codes, std::uint8_t* out);
  static F32 e2m1_values(const std::uint8_t* packed, int part);

 private:
  static Ints upper_halves(const void* four_halves);
  static Floats widen_fp16(Ints upper_halves);
  static Ints block_maxima16(const void* x, std::int64_t stride, std::int64_t rows);
  static std::uint32_t amax_bits16(const std::uint16_t* x, std::int64_t count);
};

struct E4M3Scales {
  Codes code;
  F32 value;
};

Codes operator|(Codes a, Codes b) { return Codes(a.v | b.v); }
F32 operator*(F32 a, F32 b) { return F32(a.v * b.v); }
F32 operator/(F32 a, F32 b) { return F32(a.v / b.v); }
Mask operator==(F32 a, F32 b) { return {a.v == b.v}; }
Mask operator|(Mask a, Mask b) { return {a.m | b.m}; }
Mask is_nan(F32 a) { return {a.v != a.v}; }
bool any(Mask a) { return (a.m[0] | a.m[1] | a.m[2] | a.m[3]) != 0; }
F32 select(Mask m, F32 x, F32 y) { return F32(floats(blend(m.m, ints(x.v), ints(y.v)))); }
Codes select(Mask m, Codes x, Codes y) { return Codes(blend(m.m, x.v, y.v)); }
F32 min_num(F32 a, F32 bound) { return F32(least(a.v, bound.v)); }
F32 min_nan(F32 a, F32 bound) { return F32(least(bound.v, a.v)); }
Codes negative(F32 y) { return Codes((y.v < Floats{}) & 8); }

/// See avx512.cpp: three roundings by 1.5 * 2^23, then minima. Doubling and halving are exact where they
/// matter, so no fused operation is needed.
Codes e2m1_magnitude(F32 y) {
  constexpr float magic = 0x1.8p23f;
  const Floats a = floats(ints(y.v) & 0x7FFFFFFF);
  const Floats code =
      least(least(least(a * 2 + magic, a + (magic + 2)), a * 0.5f + (magic + 4)), F32(magic + 7).v);
  return Codes(ints(code) & 7);
}

Codes e2m1_satfinite(F32 y) { return e2m1_magnitude(y) | Codes((ints(y.v) >> 28) & (y.v == y.v) & 8); }

/// See avx512.cpp: integer RNE at bit 20, and below 2^-6 one addition of 2^14.
E4M3Scales e4m3_satfinite(F32 t) {
  const Floats bounded = least(t.v, F32(448).v);
  const Ints bits = ints(bounded);
  const Ints rounded = (bits + (0x7FFFF + ((bits >> 20) & 1))) >> 20;
  const Floats shifted = bounded + 0x1p14f;
  const Ints small = bounded < 0x1p-6f;
  const Codes code(blend(small, ints(shifted) & 0xF, rounded - (120 << 3)));
  const F32 value(floats(blend(small, ints(shifted - 0x1p14f), rounded << 20)));
  return {select(is_nan(t), Codes(0x7F), code), select(is_nan(t), t, value)};
}

/// Four 16-bit codes, each in the upper half of a lane.
Ints F32::upper_halves(const void* four_halves) {
  Halves x{};
  std::memcpy(&x, four_halves, 8);
  return __builtin_bit_cast(Ints, __builtin_shufflevector(Halves{}, x, 0, 8, 1, 9, 2, 10, 3, 11));
}

/// Exponent and mantissa in FP32's places, then the bias difference of 2^112: exact, subnormals included. Inf
/// and NaN need the exponent's remaining bits.
Floats F32::widen_fp16(Ints upper) {
  const Ints magnitude = (upper & 0x7FFF0000) >> 3;
  const Ints special = (magnitude > 0x0F7FFFFF) & 0x7F800000;
  return floats(ints(floats(magnitude) * 0x1p112f) | special |
                (upper & static_cast<std::int32_t>(0x80000000)));
}

std::uint32_t F32::amax_bits(const float* x, std::int64_t count) {
  Ints m[4] = {};
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    for (int k = 0; k < 4; ++k) m[k] = greatest(m[k], load_vector<Ints>(x + i + 4 * k) & 0x7FFFFFFF);
  const Ints all = greatest(greatest(m[0], m[1]), greatest(m[2], m[3]));
  std::int32_t most = 0;
  for (int lane = 0; lane < 4; ++lane) most = all[lane] > most ? all[lane] : most;
  for (; i < count; ++i) {
    const std::int32_t bits = __builtin_bit_cast(std::int32_t, x[i]) & 0x7FFFFFFF;
    most = bits > most ? bits : most;
  }
  return static_cast<std::uint32_t>(most);
}

std::uint32_t F32::amax_bits16(const std::uint16_t* x, std::int64_t count) {
  Halves m[4] = {};
  std::int64_t i = 0;
  for (; i + 32 <= count; i += 32)
    for (int k = 0; k < 4; ++k)
      m[k] = greatest(m[k], load_vector<Halves>(x + i + 8 * k) & static_cast<std::int16_t>(0x7FFF));
  const Halves all = greatest(greatest(m[0], m[1]), greatest(m[2], m[3]));
  int most = 0;
  for (int lane = 0; lane < 8; ++lane) most = all[lane] > most ? all[lane] : most;
  for (; i < count; ++i) most = (x[i] & 0x7FFF) > most ? x[i] & 0x7FFF : most;
  return static_cast<std::uint32_t>(most);
}

/// Lanes of four vectors transposed and reduced: lane b of the result is the maximum of m[b]'s lanes.
template <class V>
Ints reduce(const Ints* m) {
  const auto most = [](Ints a, Ints b) {
    return __builtin_bit_cast(Ints, greatest(__builtin_bit_cast(V, a), __builtin_bit_cast(V, b)));
  };
  const Ints ab =
      most(__builtin_shufflevector(m[0], m[1], 0, 4, 1, 5), __builtin_shufflevector(m[0], m[1], 2, 6, 3, 7));
  const Ints cd =
      most(__builtin_shufflevector(m[2], m[3], 0, 4, 1, 5), __builtin_shufflevector(m[2], m[3], 2, 6, 3, 7));
  return most(__builtin_shufflevector(ab, cd, 0, 1, 4, 5), __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
}

F32 F32::block_maxima(const float* x, std::int64_t stride, std::int64_t rows) {
  Ints m[4] = {};
  for (int b = 0; b < 4; ++b)
    for (std::int64_t r = 0; r < rows; ++r)
      for (int p = 0; p < 4; ++p)
        m[b] = greatest(m[b], load_vector<Ints>(x + r * stride + 16 * b + 4 * p) & 0x7FFFFFFF);
  return F32(floats(reduce<Ints>(m)));
}

/// In 16-bit lanes until the last step, which leaves each maximum in its lane's upper half.
Ints F32::block_maxima16(const void* data, std::int64_t stride, std::int64_t rows) {
  const auto* x = static_cast<const std::uint16_t*>(data);
  const auto magnitude = static_cast<std::int16_t>(0x7FFF);
  Ints m[4];
  for (int b = 0; b < 4; ++b) {
    Halves most{};
    for (std::int64_t r = 0; r < rows; ++r)
      for (int p = 0; p < 2; ++p)
        most = greatest(most, load_vector<Halves>(x + r * stride + 16 * b + 8 * p) & magnitude);
    m[b] = __builtin_bit_cast(Ints, most);
  }
  const Ints pairs = reduce<Halves>(m);
  const Ints swapped = pairs << 16;
  return __builtin_bit_cast(
             Ints, greatest(__builtin_bit_cast(Halves, pairs), __builtin_bit_cast(Halves, swapped))) &
         static_cast<std::int32_t>(0xFFFF0000);
}

/// One block of four vectors to dwords 0 and 2: byte k of dword 0 joins elements 4k and 4k + 1, of dword 2 the
/// elements 4k + 2 and 4k + 3.
Ints join(const Codes* c) {
  using Longs = std::int64_t __attribute__((vector_size(16)));
  const Ints columns = c[0].v | (c[1].v << 8) | (c[2].v << 16) | (c[3].v << 24);
  const auto wide = __builtin_bit_cast(Longs, columns);
  return columns | __builtin_bit_cast(Ints, wide >> 28);
}

/// codes[4b] .. codes[4b + 3] are block b.
void F32::store_packed(const Codes* codes, std::uint8_t* out) {
  using Chars = char __attribute__((vector_size(16)));
  const auto both =
      __builtin_bit_cast(Chars, __builtin_shufflevector(join(codes), join(codes + 4), 0, 2, 4, 6));
  const Chars packed =
      __builtin_shufflevector(both, both, 0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
  std::memcpy(out, &packed, 16);
}

F32 F32::e2m1_values(const std::uint8_t* packed, int part) {
  constexpr float value[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
  const std::uint8_t* two = packed + 2 * part;
  return F32(Floats{value[two[0] & 15], value[two[0] >> 4], value[two[1] & 15], value[two[1] >> 4]});
}

}  // namespace

const Table* portable() { return &Engine<F32>::table; }

}  // namespace nvfp4::isa
