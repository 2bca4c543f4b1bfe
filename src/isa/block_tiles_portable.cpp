#include <bit>
#include <cstring>

#include "block_steps.hpp"

namespace nvfp4::isa {
namespace {

/// Vectors in plain loops; nothing here depends on a rounding mode.
struct Portable {
  static constexpr int columns = 8, run = 2, numbers = 2 * columns, half = columns / 2;
  static constexpr std::array<std::uint8_t, 32> lane{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

  template <class T, int count>
  struct Vector {
    T v[count];

    template <class Make>
    static Vector of(Make make) {
      Vector x;
      for (int i = 0; i < count; ++i) x.v[i] = static_cast<T>(make(i));
      return x;
    }
    static Vector read(const void* from) {
      Vector x;
      std::memcpy(x.v, from, sizeof x.v);
      return x;
    }
  };
  using Pair = Vector<std::int16_t, numbers>;
  using Int = Vector<std::int32_t, columns>;
  using Float = Vector<float, columns>;
  using Double = Vector<double, half>;

  static Pair load(const std::int16_t* x) { return Pair::read(x); }
  static Pair load(const std::uint16_t* x) { return Pair::read(x); }
  static Float load(const float* x) { return Float::read(x); }
  static void store(float* to, Float x) { std::memcpy(to, x.v, sizeof x.v); }
  static Int broadcast(int x) {
    return Int::of([&](int) { return x; });
  }
  static Float broadcast(float x) {
    return Float::of([&](int) { return x; });
  }
  static Pair broadcast_pair(const void* two) {
    std::int16_t x[2];
    std::memcpy(x, two, sizeof x);
    return Pair::of([&](int i) { return x[i % 2]; });
  }

  static void unpack(const std::uint8_t* codes, int offset, StepCodes& step) {
    for (int g = 0; g < step_groups; ++g) {
      int sum = 0;
      step.squares[g] = step.nonzero[g] = 0;
      std::uint8_t* values = step.values + (g / 2 * 2 * group_size + g % 2 * run);
      for (int k = 0; k < group_size; ++k) {
        const int v = doubled_e2m1[codes[(g * group_size + k) / 2] >> (k % 2 * 4) & 15];
        values[k / run * 2 * run + k % run] = static_cast<std::uint8_t>(v + offset);
        sum += v, step.squares[g] += v * v;
        step.nonzero[g] = static_cast<std::uint16_t>(step.nonzero[g] | (v != 0) << k);
      }
      const auto offset_of_group = static_cast<std::int16_t>(-12 * sum);
      std::memcpy(step.offsets + run * g, &offset_of_group, run);
    }
  }

  static StepScales weigh(const ScaleFields* scale_of, const std::uint8_t* scales,
                          const std::int32_t (&squares)[step_groups]) {
    StepScales step;
    ScaleFields counted[step_groups];
    for (int g = 0; g < step_groups; ++g) {
      const ScaleFields s = scale_of[scales[g]];
      const bool counts = squares[g] != 0 && s.significand != 0;
      counted[g] = counts ? s : ScaleFields{0, 1000};
      step.least = std::min<int>(step.least, counted[g].exponent);
      step.largest = std::max<int>(step.largest, counts ? s.exponent : -1000);
      step.has_nan |= s.exponent == nan_exponent;
    }
    for (int g = 0; g < step_groups; ++g) {
      const ScaleFields s = counted[g];
      const int shift = s.significand ? s.exponent - step.least : 0;
      step.weights[g] = static_cast<std::int16_t>(s.significand << std::min(shift, most_spread));
      const double weight = s.significand * power_of_two(shift);
      step.norm += squares[g] * weight * weight;
    }
    return step;
  }

  static void dots(const std::uint8_t* a, const std::uint8_t* b, const std::byte* offsets,
                   Pair (&dot)[block_tile_rows][2]) {
    for (int r = 0; r < block_tile_rows; ++r) dot[r][0] = dot[r][1] = broadcast_pair(offsets + 4 * r);
    for (int k = 0; k < group_size / run; ++k)
      for (int r = 0; r < block_tile_rows; ++r) {
        std::int8_t row[4];
        std::memcpy(row, a + 16 * k + 4 * r, sizeof row);
        for (int v = 0; v < 2; ++v) {
          const std::uint8_t* columns = b + 64 * k + 32 * v;
          for (int i = 0; i < numbers; ++i)
            dot[r][v].v[i] = static_cast<std::int16_t>(dot[r][v].v[i] + columns[2 * i] * row[2 * (i % 2)] +
                                                       columns[2 * i + 1] * row[2 * (i % 2) + 1]);
        }
      }
  }

  template <class V>
  static V add(V x, const V& y) {
    for (std::size_t i = 0; i < std::size(x.v); ++i) x.v[i] += y.v[i];
    return x;
  }
  template <class V>
  static V largest(V x, const V& y) {
    for (std::size_t i = 0; i < std::size(x.v); ++i) x.v[i] = x.v[i] < y.v[i] ? y.v[i] : x.v[i];
    return x;
  }
  template <class V>
  static V multiply(V x, const V& y) {
    for (std::size_t i = 0; i < std::size(x.v); ++i) x.v[i] *= y.v[i];
    return x;
  }
  /// Of numbers without a sign.
  static Pair multiply_high(const Pair& x, const Pair& y) {
    const auto number = [](std::int16_t bits) { return std::uint32_t{static_cast<std::uint16_t>(bits)}; };
    return Pair::of([&](int i) { return number(x.v[i]) * number(y.v[i]) >> 16; });
  }
  static Pair low_15_bits(const Pair& x) {
    return Pair::of([&](int i) { return x.v[i] & 0x7FFF; });
  }
  static Pair first(const Pair& x) {
    return Pair::of([&](int i) { return i % 2 ? 0 : x.v[i]; });
  }
  static Pair second(const Pair& x) {
    return Pair::of([&](int i) { return i % 2 ? x.v[i] : 0; });
  }
  static Pair where_both(const Pair& bits, const Pair& other, const Pair& x) {
    return Pair::of([&](int i) { return bits.v[i] & other.v[i] ? x.v[i] : 0; });
  }
  /// Modulo 2^32.
  static Int multiply_add(const Pair& x, const Pair& y) {
    return Int::of([&](int i) {
      return static_cast<std::uint32_t>(x.v[2 * i] * y.v[2 * i]) +
             static_cast<std::uint32_t>(x.v[2 * i + 1] * y.v[2 * i + 1]);
    });
  }

  static Int multiply_add(const Int& sum, const Pair& x, const Pair& y) {
    return add(sum, multiply_add(x, y));
  }

  /// The first number of a pair is the low half of its Int.
  static Int as_int(const Pair& x) {
    return Int::of([&](int i) {
      return static_cast<std::uint16_t>(x.v[2 * i]) |
             static_cast<std::uint32_t>(static_cast<std::uint16_t>(x.v[2 * i + 1])) << 16;
    });
  }
  static Pair as_pair(const Int& x) {
    return Pair::of([&](int i) { return static_cast<std::uint32_t>(x.v[i / 2]) >> (i % 2 * 16); });
  }
  static Int add(const Int& x, const Int& y) {
    return Int::of(
        [&](int i) { return static_cast<std::uint32_t>(x.v[i]) + static_cast<std::uint32_t>(y.v[i]); });
  }
  template <int bits>
  static Int left(const Int& x) {
    return Int::of([&](int i) { return static_cast<std::uint32_t>(x.v[i]) << bits; });
  }
  template <int bits>
  static Int right(const Int& x) {
    return Int::of([&](int i) { return static_cast<std::uint32_t>(x.v[i]) >> bits; });
  }

  static Float to_float(const Int& x) {
    return Float::of([&](int i) { return x.v[i]; });
  }
  static Float as_float(const Int& x) { return Float::read(x.v); }
  static Int exponent_field(const Float& x) {
    return Int::of([&](int i) { return std::bit_cast<std::uint32_t>(x.v[i]) << 1 >> 24; });
  }
  /// To 24 bits; no operand here is a subnormal FP32 number.
  static double truncated(double x) {
    return std::bit_cast<double>(std::bit_cast<std::uint64_t>(x) & ~0x1FFFFFFFull);
  }
  static Double truncated(const Double& x) {
    return Double::of([&](int i) { return truncated(x.v[i]); });
  }
  static Float truncated_fma(const Float& x, const Float& y, const Float& z) {
    return Float::of([&](int i) { return truncated(double{x.v[i]} * y.v[i] + z.v[i]); });
  }
  /// Exact here.
  static Double fma(const Double& x, const Double& y, const Double& z) { return add(multiply(x, y), z); }
  static Double broadcast(double x) {
    return Double::of([&](int) { return x; });
  }

  template <class V>
  static void halves(const V& x, Double (&parts)[2]) {
    for (int h = 0; h < 2; ++h) parts[h] = Double::of([&](int i) { return x.v[h * half + i]; });
  }
  /// x, without what lies below the last bit of `far`, |x| being below 2^49 of these.
  static Double cut(const Double& x, const Double& far) {
    return Double::of([&](int i) {
      const double last = far.v[i] * 0x1p-52;
      return static_cast<double>(static_cast<std::int64_t>(x.v[i] / last)) * last;
    });
  }
  static Float joined(const Double (&parts)[2]) {
    return Float::of([&](int i) { return truncated(parts[i / half].v[i % half]); });
  }
};

}  // namespace

const BlockTiles& portable_block_tiles() { return BlockSteps<Portable>::tiles; }

}  // namespace nvfp4::isa
