#pragma once
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "isa.hpp"

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
To converted(From x, std::index_sequence<lane...>) {
  using Element = std::remove_reference_t<decltype(To{}[0])>;
  return To{static_cast<Element>(x[lane])...};
}
/// Lane by lane, which compilers know for one instruction; GCC 12 takes __builtin_convertvector apart.
template <class To, class From>
To to(From x) {
  return converted<To>(x, std::make_index_sequence<sizeof(From) / sizeof(x[0])>{});
}

Doubles magnitude(Doubles x) {
  return __builtin_bit_cast(Doubles, __builtin_bit_cast(Longs, x) & 0x7FFFFFFFFFFFFFFF);
}

/// 2^e.
Doubles power(HalfInts e) { return __builtin_bit_cast(Doubles, (to<Longs>(e) + 1023) << 52); }

/// |x| to `bits` below its binade, or below `smallest`: 2^(52 - bits) times that has the last bit of these for its own.
struct Rounding {
  Doubles size, last, nearest;

  Rounding(Doubles x, double smallest, int bits) : size(magnitude(x)) {
    const Doubles least = Doubles{} + smallest;
    const Doubles binade = __builtin_bit_cast(Doubles, __builtin_bit_cast(Longs, x) & 0x7FF0000000000000);
    last = (binade > least ? binade : least) * (1 / static_cast<double>(std::int64_t{1} << bits));
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

/// To FP32 of so many fraction bits, by truncation. Not by the error of a conversion: GCC 12 takes a vector's way to
/// FP32 and back for no way at all.
HalfFloats cut_to_fp32(Doubles x, int bits) { return with_sign(Rounding(x, 0x1p-126, bits).cut(), x); }

/// To FP16 to nearest even.
HalfFloats round_to_fp16(Doubles x) {
  const Rounding rounding(x, 0x1p-14, 10);
  return with_sign(rounding.size < 65520 ? rounding.nearest : rounding.size + __builtin_inf(), x);
}

/// Products of which 16 fit 32 bits.
constexpr int most_in_32_bits = 16;
constexpr int vectors = panel / lanes;

/// A step of one row, for all columns.
template <int products>
struct RowStep {
  float significand[products];
  std::int32_t exponent[products];

  RowStep(const ProductTile& t, std::int64_t at) {
    for (int l = 0; l < products; ++l) {
      significand[l] = t.significand[at + l];
      exponent[l] = t.exponent[at + l];
    }
  }
};

/// The largest exponent of a step's terms.
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

/// The accumulators of half a vector of columns, of a step's sum without C.
template <bool fp16>
HalfFloats next(const ProductTile& t, HalfFloats c, HalfInts top, Doubles sum) {
  const HalfInts up = t.step.fraction_bits - top;
  const auto cut = to<HalfInts>(to<Doubles>(c) * power(up));
  const Doubles d = (sum + to<Doubles>(cut)) * power(-up);
  const HalfFloats after = fp16 ? round_to_fp16(d) : cut_to_fp32(d, t.kept_bits);
  return c - c == 0 ? after : c;  // an infinity stays
}

/// The accumulators of a row after a step.
template <int products, bool fp16>
void product_step(const ProductTile& t, const RowStep<products>& a, std::int64_t k, float* c) {
  const float* significand = t.panel_significand + k * panel;
  const std::int32_t* exponent = t.panel_exponent + k * panel;
  constexpr int part = products < most_in_32_bits ? products : most_in_32_bits;
  Ints top[vectors];
  for (int v = 0; v < vectors; ++v) top[v] = exponent_of(t, load<Floats>(c + v * lanes));
  for (int l = 0; l < products; ++l)
    for (int v = 0; v < vectors; ++v) {
      const Ints e = load<Ints>(exponent + l * panel + v * lanes) + a.exponent[l];
      top[v] = top[v] < e ? e : top[v];
    }
  Doubles sums[halves] = {};
  for (int first = 0; first < products; first += part) {
    Ints sum[vectors] = {};
    for (int l = first; l < first + part; ++l)
      for (int v = 0; v < vectors; ++v)
        sum[v] += cut_product(
            load<Floats>(significand + l * panel + v * lanes) * a.significand[l],
            load<Ints>(exponent + l * panel + v * lanes) + a.exponent[l] + (t.step.left - top[v]));
    for (int h = 0; h < halves; ++h)
      sums[h] += to<Doubles>(load<HalfInts>(reinterpret_cast<const std::int32_t*>(sum) + h * half));
  }
  for (int h = 0; h < halves; ++h)
    store(next<fp16>(t, load<HalfFloats>(c + h * half),
                     load<HalfInts>(reinterpret_cast<const std::int32_t*>(top) + h * half), sums[h]),
          c + h * half);
}

/// c + d to nearest, and d back to zero.
template <bool fp16>
void add_partial(float* c, float* d) {
  for (int j = 0; j < panel; j += half) {
    const auto x = load<HalfFloats>(c + j), y = load<HalfFloats>(d + j);
    if constexpr (fp16)
      store(round_to_fp16(to<Doubles>(x) + to<Doubles>(y)), c + j);
    else
      store(x + y, c + j);
    store(HalfFloats{}, d + j);
  }
}

/// Rows take turns: a step waits for the one before it.
template <int products, bool fp16>
void product_tile_of(const ProductTile& t) {
  float partial[tile_rows * panel] = {};
  for (std::int64_t k = 0; k < t.k; k += products)
    for (std::int64_t i = 0; i < t.rows; ++i) {
      float *c = t.out + i * panel, *sums = t.added_every ? partial + i * panel : c;
      product_step<products, fp16>(t, RowStep<products>(t, i * t.k + k), k, sums);
      if (t.added_every && (k + products) % t.added_every == 0) add_partial<fp16>(c, sums);
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
  return to<HalfFloats>(__builtin_bit_cast(Doubles, bits + step));
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
