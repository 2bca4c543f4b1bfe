#pragma once
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "tile.hpp"

/// Sums of a tile, in the compilers' own vector types: a lane is a column, so that nothing is summed across lanes.
/// Compiled once an instruction set, so it stands in each file's own namespace.
namespace nvfp4::isa {
namespace {

#if defined(__AVX512F__)
constexpr int width = 64;
#elif defined(__AVX2__)
constexpr int width = 32;
#else
constexpr int width = 16;
#endif
constexpr int lanes = width / 4, half = width / 8, halves = panel / half;

using Floats = float __attribute__((vector_size(width)));
using Ints = std::int32_t __attribute__((vector_size(width)));
using Shorts = std::int16_t __attribute__((vector_size(width / 2)));
using Doubles = double __attribute__((vector_size(width)));
using Longs = std::int64_t __attribute__((vector_size(width)));
using HalfFloats = float __attribute__((vector_size(width / 2)));
using HalfInts = std::int32_t __attribute__((vector_size(width / 2)));

template <class V>
V load(const void* from) {
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
template <class V>
void store(V v, void* to) {
  std::memcpy(to, &v, sizeof v);
}

template <class To, class From, std::size_t... lane>
To by_lane(From x, std::index_sequence<lane...>) {
  using Element = std::remove_reference_t<decltype(To{}[0])>;
  return To{static_cast<Element>(x[lane])...};
}
/// Lane by lane, which compilers know for one instruction; GCC 12 takes __builtin_convertvector apart.
template <class To, class From>
To to(From x) {
  return by_lane<To>(x, std::make_index_sequence<sizeof(From) / sizeof(x[0])>{});
}

Doubles magnitude(Doubles x) {
  return __builtin_bit_cast(Doubles, __builtin_bit_cast(Longs, x) & 0x7FFFFFFFFFFFFFFF);
}

/// 2^e.
Doubles power(HalfInts e) { return __builtin_bit_cast(Doubles, (to<Longs>(e) + 1023) << 52); }

/// Of a power of two.
Doubles reciprocal(Doubles x) {
  return __builtin_bit_cast(Doubles, (std::int64_t{2046} << 52) - __builtin_bit_cast(Longs, x));
}

/// |x| to a last bit of `unit` times its binade, which counts as `smallest` or more. 2^52 times that bit has it for its
/// own last.
struct Rounding {
  Doubles size, last, nearest;

  Rounding(Doubles x, double smallest, double unit) : size(magnitude(x)) {
    const Doubles least = Doubles{} + smallest;
    const Doubles binade = __builtin_bit_cast(Doubles, __builtin_bit_cast(Longs, x) & 0x7FF0000000000000);
    last = (binade > least ? binade : least) * unit;
    const Doubles magic = last * 0x1p52;
    nearest = (size + magic) - magic;
  }
  Doubles cut() const { return nearest - (nearest > size ? last : Doubles{}); }
};

/// With the sign of x; -0 becomes +0.
HalfFloats with_sign(Doubles size, Doubles x) {
  const Longs sign = __builtin_bit_cast(Longs, x) & std::numeric_limits<std::int64_t>::min();
  return to<HalfFloats>(__builtin_bit_cast(Doubles, __builtin_bit_cast(Longs, size) | sign)) + 0.0f;
}

/// To FP32 by truncation, of fraction bits down to `unit`. Not by the error of a conversion: GCC 12 drops a vector's way
/// to FP32 and back as if nothing were lost.
HalfFloats cut_to_fp32(Doubles x, double unit) { return with_sign(Rounding(x, 0x1p-126, unit).cut(), x); }

/// To FP16 to nearest even.
HalfFloats round_to_fp16(Doubles x) {
  const Rounding rounding(x, 0x1p-14, 0x1p-10);
  return with_sign(rounding.size < 65520 ? rounding.nearest : rounding.size + __builtin_inf(), x);
}

/// Products below 2^27 that 32 bits can add.
constexpr int most_in_32_bits = 16;
constexpr int vectors = panel / lanes;

/// The exponent of C as a term.
Ints exponent_of(const ProductTile& t, Floats c) {
  const Ints exponent = (__builtin_bit_cast(Ints, c) >> 23 & 255) - 127,
             smallest = Ints{} + t.smallest_exponent;
  return c == 0 ? Ints{} + t.step.zero_exponent : exponent > smallest ? exponent : smallest;
}

/// A product, a whole number times 2^(left + its exponent - top), cut: it fits FP32, and where that power does not,
/// nothing of it is left.
Ints cut_product(Floats significand, Ints power) {
  const Ints biased = power + 127, field = biased > 0 ? biased : Ints{};
  return to<Ints>(significand * __builtin_bit_cast(Floats, field << 23));
}

/// The sums of a step's products, and the exponents that they are aligned to.
struct StepSums {
  alignas(width) std::int32_t top[tile_rows * panel];
  alignas(width) double sum[tile_rows * panel];

  int least_top(std::int64_t count) const {
    Ints least = load<Ints>(top);
    for (std::int64_t n = lanes; n < count; n += lanes) {
      const auto other = load<Ints>(top + n);
      least = other < least ? other : least;
    }
    int of_all = least[0];
    for (int l = 1; l < lanes; ++l) of_all = of_all < least[l] ? of_all : least[l];
    return of_all;
  }
};

/// Of row i; C is a term, but is not added here.
template <int products>
void sum_row(const ProductTile& t, std::int64_t i, std::int64_t k, const float* c, std::int32_t* tops,
             double* sums) {
  const float* a_significand = t.significand + i * t.k + k;
  const std::int32_t* a_exponent = t.exponent + i * t.k + k;
  const float* significand = t.panel_significand + k * panel;
  const std::int32_t* exponent = t.panel_exponent + k * panel;
  constexpr int part = products < most_in_32_bits ? products : most_in_32_bits;
  Ints top[vectors];
  for (int v = 0; v < vectors; ++v) top[v] = exponent_of(t, load<Floats>(c + v * lanes));
  for (int l = 0; l < products; ++l)
    for (int v = 0; v < vectors; ++v) {
      const Ints e = load<Ints>(exponent + l * panel + v * lanes) + a_exponent[l];
      top[v] = top[v] < e ? e : top[v];
    }
  Doubles total[halves] = {};
  for (int first = 0; first < products; first += part) {
    Ints sum[vectors] = {};
    for (int l = first; l < first + part; ++l)
      for (int v = 0; v < vectors; ++v)
        sum[v] += cut_product(
            load<Floats>(significand + l * panel + v * lanes) * a_significand[l],
            load<Ints>(exponent + l * panel + v * lanes) + a_exponent[l] + (t.step.left - top[v]));
    for (int h = 0; h < halves; ++h)
      total[h] += to<Doubles>(load<HalfInts>(reinterpret_cast<const std::int32_t*>(sum) + h * half));
  }
  for (int v = 0; v < vectors; ++v) store(top[v], tops + v * lanes);
  for (int h = 0; h < halves; ++h) store(total[h], sums + h * half);
}

/// How FP32 results are cut.
struct Cut {
  int fraction_bits, kept_bits;
  /// Steps aligned to less may end below the last bit of a subnormal number; others need no more than their bits.
  int least_top() const { return fraction_bits - 126 - kept_bits; }
  std::int64_t kept() const { return -(std::int64_t{1} << (52 - kept_bits)); }
  double unit() const { return 1 / static_cast<double>(1 << kept_bits); }
};

enum class Result { fp16, fp32, subnormal_fp32 };

template <Result result>
HalfFloats converted(Doubles x, std::int64_t kept, double unit) {
  if constexpr (result == Result::fp16) return round_to_fp16(x);
  if constexpr (result == Result::subnormal_fp32) return cut_to_fp32(x, unit);
  return to<HalfFloats>(__builtin_bit_cast(Doubles, __builtin_bit_cast(Longs, x) & kept));
}

/// The accumulators after a step.
template <Result result>
void convert(const StepSums& s, Cut cut, std::int64_t count, float* c) {
  const std::int64_t kept = cut.kept();
  const double unit = cut.unit();
  for (std::int64_t n = 0; n < count; n += half) {
    const auto before = load<HalfFloats>(c + n);
    const HalfInts finite = before - before == 0;
    const Doubles up = power(cut.fraction_bits - load<HalfInts>(s.top + n)), down = reciprocal(up);
    const auto of_c = to<HalfInts>(to<Doubles>(finite ? before : HalfFloats{}) * up);
    const Doubles d = (load<Doubles>(s.sum + n) + to<Doubles>(of_c)) * down;
    const HalfFloats after = converted<result>(d, kept, unit);
    store(finite ? after : before, c + n);  // an infinity stays
  }
}

/// D + d to nearest, and d back to zero.
template <bool fp16>
void add_partial(const ProductTile& t, float* d) {
  for (std::int64_t n = 0; n < t.rows * panel; n += half) {
    const auto x = load<HalfFloats>(t.out + n), y = load<HalfFloats>(d + n);
    store(fp16 ? round_to_fp16(to<Doubles>(x) + to<Doubles>(y)) : x + y, t.out + n);
    store(HalfFloats{}, d + n);
  }
}

/// Step by step, as an accumulator waits for the one before it.
template <int products, bool fp16>
void product_tile_of(const ProductTile& t) {
  alignas(width) float partial[tile_rows * panel] = {};
  StepSums s;
  const Cut cut{t.step.fraction_bits, t.kept_bits};
  const std::int64_t count = t.rows * panel;
  float* c = t.added_every ? partial : t.out;
  for (std::int64_t k = 0; k < t.k; k += products) {
    for (std::int64_t i = 0; i < t.rows; ++i)
      sum_row<products>(t, i, k, c + i * panel, s.top + i * panel, s.sum + i * panel);
    if constexpr (fp16)
      convert<Result::fp16>(s, cut, count, c);
    else if (s.least_top(count) < cut.least_top())
      convert<Result::subnormal_fp32>(s, cut, count, c);
    else
      convert<Result::fp32>(s, cut, count, c);
    if (t.added_every && (k + products) % t.added_every == 0) add_partial<fp16>(t, partial);
  }
}

template <bool fp16>
void product_tile_to(const ProductTile& t) {
  switch (t.products) {
    case 4: return product_tile_of<4, fp16>(t);
    case 8: return product_tile_of<8, fp16>(t);
    case 16: return product_tile_of<16, fp16>(t);
    default: return product_tile_of<32, fp16>(t);
  }
}

void product_tile(const ProductTile& t) {
  t.step.out == Conversion::rne_fp16 ? product_tile_to<true>(t) : product_tile_to<false>(t);
}

/// The exact products of element k with a vector of columns.
Doubles products(const ValueTile& t, std::int64_t i, std::int64_t k, int h) {
  return load<Doubles>(t.panel + k * panel + h * half) * t.a[i * t.k + k];
}

/// What x + y leaves of its exact sum (Knuth).
template <class V>
V error_of_sum(V x, V y, V sum) {
  const V back = sum - x;
  return (x - (sum - back)) + (y - back);
}

/// FP32 to nearest of x + y. x + y is rounded to odd first, which no second rounding can see.
HalfFloats nearest_of_sum(Doubles x, Doubles y) {
  const Doubles sum = x + y, error = error_of_sum(x, y, sum);
  const auto bits = __builtin_bit_cast(Longs, sum);
  const Longs is_even = (bits & 1) == 0, opposed = (bits ^ __builtin_bit_cast(Longs, error)) < 0;
  const Longs step = (error != 0) & is_even & (opposed | 1);
  return to<HalfFloats>(__builtin_bit_cast(Doubles, bits + step)) + 0.0f;  // -0 becomes +0
}

void exact_tile(const ValueTile& t) {
  for (std::int64_t i = 0; i < t.rows; ++i) {
    Doubles high[halves] = {}, low[halves] = {};
    for (std::int64_t k = 0; k < t.k; ++k)
#pragma GCC unroll 8
      for (int h = 0; h < halves; ++h) {
        const Doubles product = products(t, i, k, h), sum = high[h] + product;
        low[h] += error_of_sum(high[h], product, sum);
        high[h] = sum;
      }
    for (int h = 0; h < halves; ++h) store(nearest_of_sum(high[h], low[h]), t.out + i * panel + h * half);
  }
}

/// x + y by truncation: less than the nearest where the error is against it.
HalfFloats cut_sum(HalfFloats x, HalfFloats y) {
  const HalfFloats sum = x + y, error = error_of_sum(x, y, sum);
  const HalfInts against = (error != 0) & ((sum < 0) != (error < 0));
  return __builtin_bit_cast(HalfFloats, __builtin_bit_cast(HalfInts, sum) + against);
}

void chunk_tile(const ValueTile& t) {
  for (std::int64_t i = 0; i < t.rows; ++i) {
    HalfFloats c[halves] = {};
    for (std::int64_t first = 0; first < t.k; first += t.chunk) {
      Doubles sum[halves] = {};
      for (std::int64_t k = first; k < first + t.chunk; ++k)
#pragma GCC unroll 8
        for (int h = 0; h < halves; ++h) sum[h] += products(t, i, k, h);
      for (int h = 0; h < halves; ++h) c[h] = cut_sum(c[h], to<HalfFloats>(sum[h]));
    }
    for (int h = 0; h < halves; ++h) store(c[h], t.out + i * panel + h * half);
  }
}

void in_order_tile(const ValueTile& t) {
  for (std::int64_t i = 0; i < t.rows; ++i) {
    HalfFloats c[halves] = {};
    for (std::int64_t k = 0; k < t.k; ++k)
#pragma GCC unroll 8
      for (int h = 0; h < halves; ++h) c[h] += to<HalfFloats>(products(t, i, k, h));
    for (int h = 0; h < halves; ++h) store(c[h], t.out + i * panel + h * half);
  }
}

constexpr Tiles tiles{product_tile, exact_tile, chunk_tile, in_order_tile};

}  // namespace
}  // namespace nvfp4::isa
