#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "block_tiles.hpp"
#include "engine.hpp"

/// Four lanes in the compilers' own vector types: any processor.
namespace nvfp4::isa {
namespace {

using Floats = float __attribute__((vector_size(16)));
using Ints = std::int32_t __attribute__((vector_size(16)));
using Halves = std::int16_t __attribute__((vector_size(16)));
using Longs = std::int64_t __attribute__((vector_size(16)));

Floats floats(Ints bits) { return __builtin_bit_cast(Floats, bits); }
Ints ints(Floats x) { return __builtin_bit_cast(Ints, x); }
Ints blend(Ints mask, Ints x, Ints y) { return (mask & x) | (~mask & y); }

// b where either is NaN. GCC 12 does not always find the one instruction that each of these is.
#if defined(__SSE__)
Floats least(Floats a, Floats b) { return _mm_min_ps(a, b); }
Floats greatest(Floats a, Floats b) { return _mm_max_ps(a, b); }
#else
Floats least(Floats a, Floats b) { return a < b ? a : b; }
Floats greatest(Floats a, Floats b) { return a > b ? a : b; }
#endif

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
  static Codes load(const std::uint32_t* codes) { return Codes(load_vector<Ints>(codes)); }
  static Codes load_bytes(const std::uint8_t* b) { return Codes(Ints{b[0], b[1], b[2], b[3]}); }
  using Pairs = void;  ///< elements are not split here
  void store(std::uint32_t* out) const { std::memcpy(out, &v, sizeof v); }
  void store_bytes(std::uint8_t* out) const {
    const auto wide = __builtin_bit_cast(Longs, v);
    const Longs two = wide | wide >> 24;
    const auto bytes = static_cast<std::uint32_t>((two[0] & 0xFFFF) | two[1] << 16);
    std::memcpy(out, &bytes, 4);
  }
};

/// See philox.hpp.
struct Wide {
  static constexpr int lanes = 1;
  std::uint64_t v;
  Wide() = default;
  explicit Wide(std::uint64_t v) : v(v) {}
  static Wide counters(std::uint32_t first) { return Wide(first); }
  static void store(const Wide* word, std::uint32_t* out) {
    for (int w = 0; w < 4; ++w) out[w] = static_cast<std::uint32_t>(word[w].v);
  }
};
Wide operator^(Wide a, Wide b) { return Wide(a.v ^ b.v); }
Wide product(Wide a, std::uint32_t b) { return Wide((a.v & 0xFFFFFFFF) * b); }
Wide upper(Wide a) { return Wide(a.v >> 32); }

struct F32 {
  using Code = Codes;
  using Wide = nvfp4::isa::Wide;
  static constexpr int lanes = 4;
  static constexpr int packed_blocks = 2;  ///< 16 bytes of codes
  Floats v;
  static constexpr const Tiles* tiles = &portable_tiles;
  static constexpr auto block_tiles = portable_block_tiles;

  explicit F32(float x) : v(Floats{x, x, x, x}) {}
  explicit F32(Floats v) : v(v) {}
  static constexpr bool fuses = false;  ///< multiply_add is a call
  void store(float* out) const { std::memcpy(out, &v, sizeof v); }
  void narrow(float* out) const { store(out); }
  void narrow(Bf16* out) const;

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

  [[gnu::always_inline]] static void store_packed(const Codes* codes, std::uint8_t* out);
  static bool exact_sums(const Bf16* x, std::int64_t stride, F32& bound);
  static void turn_dwords(const std::uint32_t* from, std::int64_t stride, std::uint32_t* to,
                          std::int64_t to_stride);
  static F32 e2m1_values(const std::uint8_t* packed, int part);
  static F32 e2m1_value(Codes);

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
F32 operator+(F32 a, F32 b) { return F32(a.v + b.v); }
F32 operator-(F32 a, F32 b) { return F32(a.v - b.v); }
F32 multiply_add(F32 a, F32 b, F32 c) {
  const auto lane = [&](int i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); };
  return F32(Floats{lane(0), lane(1), lane(2), lane(3)});
}
F32 abs(F32 a) { return F32(floats(ints(a.v) & 0x7FFFFFFF)); }
Mask operator<(F32 a, F32 b) { return {a.v < b.v}; }
Mask has_sign(F32 a) { return {ints(a.v) >> 31}; }
Mask operator==(F32 a, F32 b) { return {a.v == b.v}; }
Mask operator|(Mask a, Mask b) { return {a.m | b.m}; }
Mask is_nan(F32 a) { return {a.v != a.v}; }
bool any(Mask a) {
  const auto wide = __builtin_bit_cast(Longs, a.m);
  return (wide[0] | wide[1]) != 0;
}
bool any_nan(F32 a) { return any(is_nan(a)); }
F32 select(Mask m, F32 x, F32 y) { return F32(floats(blend(m.m, ints(x.v), ints(y.v)))); }
Codes select(Mask m, Codes x, Codes y) { return Codes(blend(m.m, x.v, y.v)); }
F32 min_num(F32 a, F32 bound) { return F32(least(a.v, bound.v)); }
F32 min_nan(F32 a, F32 bound) { return F32(least(bound.v, a.v)); }
F32 max_nan(F32 a, F32 bound) { return F32(greatest(bound.v, a.v)); }

/// See avx2.cpp.
F32 larger_pattern(F32 a, F32 b) { return F32(floats(greatest(ints(a.v), ints(b.v)))); }
Codes eight_nibbles(const Codes* c) {
  Ints packed = c[7].v;
#pragma GCC unroll 8
  for (int j = 6; j >= 0; --j) packed = packed << 4 | c[j].v;
  return Codes(packed);
}

/// Rows of as many dwords, turned.
void F32::turn_dwords(const std::uint32_t* from, std::int64_t stride, std::uint32_t* to,
                      std::int64_t to_stride) {
  for (int c = 0; c < lanes; ++c)
    for (int r = 0; r < lanes; ++r) to[c * to_stride + r] = from[r * stride + c];
}

F32 ftz(F32 a) {
  const Ints sign = ints(a.v) & static_cast<std::int32_t>(0x80000000);
  return select(abs(a) < F32(0x1p-126f), F32(floats(sign)), a);
}

/// See avx2.cpp.
F32 to_bf16(F32 a) {
  const Ints bits = ints(a.v);
  const Ints rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) & static_cast<std::int32_t>(0xFFFF0000);
  return select(is_nan(a), F32(__builtin_nanf("")), F32(floats(rounded)));
}
void F32::narrow(Bf16* out) const {
  const Ints bits = ints(to_bf16(*this).v);
  for (int i = 0; i < lanes; ++i) out[i].bits = static_cast<std::uint16_t>(bits[i] >> 16);
}

Codes operator+(Codes a, Codes b) { return Codes(a.v + b.v); }
Codes operator-(Codes a, Codes b) { return Codes(a.v - b.v); }
Codes operator<<(Codes a, int bits) { return Codes(a.v << bits); }

/// See avx2.cpp.
F32 binade(F32 a) { return F32(floats(ints(a.v) & 0x7F800000)); }
Codes cut_to_integer(F32 a) { return Codes(__builtin_convertvector(a.v, Ints)); }
F32 toward_zero(Codes n) {
  const auto magnitude = [](Ints x) { return x < 0 ? -x : x; };
  const auto nearest = __builtin_convertvector(n.v, Floats);
  const Ints beyond = magnitude(__builtin_convertvector(nearest, Ints)) > magnitude(n.v);
  return F32(floats(ints(nearest) + beyond));
}

Codes negative(F32 y) { return Codes((y.v < Floats{}) & 8); }

struct Rounded {
  Floats value;
  Ints code;
};

/// RNE of a >= 0 to `mantissa` bits, subnormal below the power of two `normal`. With p = 2^floor(log2 a), at least
/// `normal`, the sum at 2^(23 - mantissa) p rounds a to a multiple n of p / 2^mantissa, and the code is n plus
/// 2^mantissa a binade. That second part is the sum's own exponent, shifted; `even`, which leaves ties as they
/// are, brings it to 0 at `normal` in the bits of `mask`.
template <int mantissa, int mask>
Rounded round_to(Floats a, float normal) {
  constexpr int up = 23 - mantissa;
  const int even = -(((__builtin_bit_cast(std::int32_t, normal) >> 23) + up) << mantissa) & mask;
  const Floats p = greatest(floats(ints(a) & 0x7F800000), F32(normal).v);
  const Floats magic = floats(ints(p) + ((up << 23) + even));
  const Floats sum = a + magic;
  return {sum - magic, (ints(sum) + (ints(sum) >> up)) & mask};
}

Codes e2m1_magnitude(F32 y) {
  const Floats a = least(floats(ints(y.v) & 0x7FFFFFFF), F32(6).v);
  return Codes(round_to<1, 7>(a, 1).code);
}

/// The minimum makes a NaN +Inf, which has no sign to keep.
Codes e2m1_satfinite(F32 y) {
  const Floats number = least(y.v, F32(__builtin_inff()).v);
  return e2m1_magnitude(F32(number)) | Codes((ints(number) >> 28) & 8);
}

Ints least(Ints a, Ints b) { return blend(a < b, a, b); }

/// The minimum makes a NaN +Inf.
Ints sign_code(F32 y) { return (ints(least(y.v, F32(__builtin_inff()).v)) >> 28) & 8; }

/// See avx512.cpp.
Codes e2m1_carry(F32 y, Codes random) {
  const Floats a = least(abs(y).v, F32(6).v);
  const Ints low = __builtin_convertvector(a * 512, Ints);
  const Ints steps = least(least(low, (low >> 1) + 512), (low >> 2) + 1024);
  return Codes((steps + random.v) >> 8 | sign_code(y));
}

Codes e2m1_te_software(F32 y, Codes random) {
  const F32 a = abs(y);
  const F32 upper = select(Mask{a.v < 4}, F32(0x1p-8f), F32(0x1p-7f));
  const F32 step = select(Mask{a.v < 2}, F32(0x1p-9f), upper);
  const Floats sum = a.v + __builtin_convertvector(random.v, Floats) * step.v;
  const Ints low = __builtin_convertvector(least(sum, F32(6).v) * 2, Ints);
  return Codes(least(least(low, (low >> 1) + 2), (low >> 2) + 4) | sign_code(y));
}

/// The minimum makes a NaN 448, code 0x7E.
E4M3Scales e4m3_satfinite(F32 t) {
  const Rounded number = round_to<3, 0x7F>(least(t.v, F32(448).v), 0x1p-6f);
  const Ints nan = is_nan(t).m;
  return {Codes(number.code - nan), F32(floats(ints(number.value) | nan))};
}

/// Four 16-bit codes, each in the upper half of a lane.
Ints F32::upper_halves(const void* four_halves) {
  std::int64_t x;
  std::memcpy(&x, four_halves, 8);
  return __builtin_bit_cast(Ints, __builtin_shufflevector(Halves{}, __builtin_bit_cast(Halves, Longs{x, 0}),
                                                          0, 8, 1, 9, 2, 10, 3, 11));
}

/// Exponent and mantissa in FP32's places, then the bias difference of 2^112: exact, subnormals included. Inf
/// and NaN need the exponent's remaining bits.
Floats F32::widen_fp16(Ints upper) {
  const Ints magnitude = (upper & 0x7FFF0000) >> 3;
  const Ints special = (magnitude > 0x0F7FFFFF) & 0x7F800000;
  return floats(ints(floats(magnitude) * 0x1p112f) | special |
                (upper & static_cast<std::int32_t>(0x80000000)));
}

/// Maxima of magnitudes. SSE2 has no integer maximum and its FP maximum drops a NaN, which a sum keeps.
struct Magnitudes {
  Floats most{}, sum{};
  void add(const float* x) {
    const Floats magnitude = floats(load_vector<Ints>(x) & 0x7FFFFFFF);
    most = greatest(most, magnitude);
    sum += magnitude;
  }
  Ints bits() const { return ints(most) | ((sum != sum) & 0x7FFFFFFF); }
};

std::uint32_t F32::amax_bits(const float* x, std::int64_t count) {
  Magnitudes m[4];
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    for (int k = 0; k < 4; ++k) m[k].add(x + i + 4 * k);
  const Ints all = greatest(greatest(m[0].bits(), m[1].bits()), greatest(m[2].bits(), m[3].bits()));
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

/// See avx2.cpp; of 8 columns. A zero is no smallest number, but the largest pattern.
bool F32::exact_sums(const Bf16* x, std::int64_t stride, F32& bound) {
  Halves least = Halves{} + 0x7FFF;
  Floats even{}, odd{};
  for (int k = 0; k < 16; ++k) {
    const Halves magnitude = load_vector<Halves>(x + k * stride) & static_cast<std::int16_t>(0x7FFF);
    const Halves nonzero = magnitude | ((magnitude == 0) & static_cast<std::int16_t>(0x7FFF));
    least = nonzero < least ? nonzero : least;
    const auto both = __builtin_bit_cast(Ints, magnitude);
    even += floats(both << 16);
    odd += floats(both & static_cast<std::int32_t>(0xFFFF0000));
  }
  const auto is_exact = [](Floats sum, Ints smallest) {
    const Ints exponent = smallest & 0x7F800000;
    return (ints(sum) - ((24 - 134 + 127) << 23) < exponent) & (exponent > 31 << 23) &
           (ints(sum) < 227 << 23);
  };
  const auto smallest = __builtin_bit_cast(Ints, least);
  bound = F32(greatest(even, odd) * 0.25f);
  const auto all = __builtin_bit_cast(Longs, is_exact(even, smallest << 16) & is_exact(odd, smallest));
  return (all[0] & all[1]) == -1;
}

/// Lanes of four vectors transposed and reduced: lane b of the result is the maximum of m[b]'s lanes.
template <class V>
Ints reduce(const V* m) {
  const auto most = [](Ints a, Ints b) {
    return __builtin_bit_cast(Ints, greatest(__builtin_bit_cast(V, a), __builtin_bit_cast(V, b)));
  };
  const auto half = [&](V v, V w) {
    const auto a = __builtin_bit_cast(Ints, v), b = __builtin_bit_cast(Ints, w);
    return most(__builtin_shufflevector(a, b, 0, 4, 1, 5), __builtin_shufflevector(a, b, 2, 6, 3, 7));
  };
  const Ints ab = half(m[0], m[1]), cd = half(m[2], m[3]);
  return most(__builtin_shufflevector(ab, cd, 0, 1, 4, 5), __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
}

F32 F32::block_maxima(const float* x, std::int64_t stride, std::int64_t rows) {
  Ints m[4];
#pragma GCC unroll 4
  for (int b = 0; b < 4; ++b) {
    Magnitudes block;
    for (std::int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
      for (int p = 0; p < 4; ++p) block.add(x + r * stride + 16 * b + 4 * p);
    m[b] = block.bits();
  }
  return F32(floats(reduce(m)));
}

/// In 16-bit lanes until the last step, which leaves each maximum in its lane's upper half.
Ints F32::block_maxima16(const void* data, std::int64_t stride, std::int64_t rows) {
  const auto* x = static_cast<const std::uint16_t*>(data);
  const auto both_halves = [](const std::uint16_t* block) {
    const auto magnitude = static_cast<std::int16_t>(0x7FFF);
    return greatest(load_vector<Halves>(block) & magnitude, load_vector<Halves>(block + 8) & magnitude);
  };
  Halves m[4];
#pragma GCC unroll 4
  for (int b = 0; b < 4; ++b) m[b] = both_halves(x + 16 * b);
  for (std::int64_t r = 1; r < rows; ++r)
#pragma GCC unroll 4
    for (int b = 0; b < 4; ++b) m[b] = greatest(m[b], both_halves(x + r * stride + 16 * b));
  const Ints pairs = reduce(m);
  const Ints swapped = pairs << 16;
  return __builtin_bit_cast(
             Ints, greatest(__builtin_bit_cast(Halves, pairs), __builtin_bit_cast(Halves, swapped))) &
         static_cast<std::int32_t>(0xFFFF0000);
}

/// One block of four vectors: byte p of lane i is element 4p + i.
Ints columns(const Codes* c) { return c[0].v | (c[1].v << 8) | (c[2].v << 16) | (c[3].v << 24); }

/// codes[4b] .. codes[4b + 3] are block b. Bytes of even and of odd elements, each in order, then nibbles.
inline void F32::store_packed(const Codes* codes, std::uint8_t* out) {
  using Chars = char __attribute__((vector_size(16)));
  const Ints a = columns(codes), b = columns(codes + 4);
  const auto low = __builtin_bit_cast(Chars, __builtin_shufflevector(a, b, 0, 4, 1, 5));
  const auto high = __builtin_bit_cast(Chars, __builtin_shufflevector(a, b, 2, 6, 3, 7));
  const Chars even =
      __builtin_shufflevector(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const Chars odd =
      __builtin_shufflevector(low, high, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  const Ints packed = __builtin_bit_cast(Ints, even) | __builtin_bit_cast(Ints, odd) << 4;
  std::memcpy(out, &packed, 16);
}

constexpr float e2m1_table[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

F32 F32::e2m1_value(Codes code) {
  const auto value = [&](int lane) { return e2m1_table[code.v[lane] & 15]; };
  return F32(Floats{value(0), value(1), value(2), value(3)});
}

F32 F32::e2m1_values(const std::uint8_t* packed, int part) {
  const std::uint8_t* two = packed + 2 * part;
  return e2m1_value(Codes(Ints{two[0], two[0] >> 4, two[1], two[1] >> 4}));
}

}  // namespace

const Table* portable() { return &Engine<F32>::table; }

}  // namespace nvfp4::isa
