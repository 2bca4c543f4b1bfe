#pragma once
#include <cstddef>
#include <cstdint>

#include "block_pack.hpp"
#include "block_tiles.hpp"

/// The steps of BlockTiles over the vectors of an instruction set. Compiled once an instruction set, so it stands in each
/// file's own namespace.
namespace nvfp4::isa {
namespace {

/// L has vectors of `columns` columns: Pair (two 16-bit numbers a column), Int, Float, and of half of them Double.
/// Two vectors span a tile.
template <class L>
struct BlockSteps {
  using Pair = typename L::Pair;
  using Int = typename L::Int;
  using Float = typename L::Float;
  using Double = typename L::Double;
  static constexpr int columns = L::columns, cols = 2 * columns;
  using Dots = Pair[block_tile_rows][2];

  /// A pair of groups of a task.
  struct Place {
    const std::uint8_t *a_values, *b_values;
    const std::byte* offsets;
    const std::int16_t *a_weights, *b_weights;

    explicit Place(const BlockTask& t)
        : a_values(t.a.values),
          b_values(t.b.values),
          offsets(t.offsets),
          a_weights(t.a.weights),
          b_weights(t.b.weights) {}
    void next() {
      a_values += 2 * group_size * block_tile_rows, b_values += 2 * group_size * cols;
      offsets += 2 * L::run * block_tile_rows;
      a_weights += 2 * block_tile_rows, b_weights += 2 * cols;
    }
    void dots(Dots& dot) const { L::dots(a_values, b_values, offsets, dot); }
    Pair a_weight(int r) const { return L::broadcast_pair(a_weights + 2 * r); }
    Pair b_weight(int v) const { return L::load(b_weights + 2 * columns * v); }
  };

  static float* accumulators(const BlockTask& t, int r, int v) { return t.c + r * cols + v * columns; }

  template <class Use>
  static void each(Use use) {
#pragma GCC unroll 4
    for (int r = 0; r < block_tile_rows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) use(r, v);
  }

  /// S of a step, a pair of groups after the other.
  struct NarrowWeights {
    Int sum;
    void add(bool first, const Place& at, Pair dot, int r, int v) {
      const Pair weights = L::multiply(at.a_weight(r), at.b_weight(v));
      sum = first ? L::multiply_add(dot, weights) : L::multiply_add(sum, dot, weights);
    }
    Int total() const { return sum; }
  };
  /// Modulo 2^32, a product of weights being low + 2^15 high.
  struct WideWeights {
    Int low, high;
    void add(bool first, const Place& at, Pair dot, int r, int v) {
      const Pair a = at.a_weight(r), b = at.b_weight(v);
      const Pair below = L::low_15_bits(L::multiply(a, b)), above = L::multiply_high(L::add(a, a), b);
      low = first ? L::multiply_add(dot, below) : L::multiply_add(low, dot, below);
      high = first ? L::multiply_add(dot, above) : L::multiply_add(high, dot, above);
    }
    Int total() const { return L::add(low, L::template left<15>(high)); }
  };

  /// C, where each S is below 2^24.
  struct InFloat {
    const BlockTask& t;
    Float b_units[2];

    explicit InFloat(const BlockTask& task) : t(task) {}
    void begin(int step) {
      for (int v = 0; v < 2; ++v) b_units[v] = L::load(t.b.units + step * cols + v * columns);
    }
    void add(int step, Int sum, int r, int v) {
      float* c = accumulators(t, r, v);
      const Float unit = L::multiply(L::broadcast(t.a.units[step * block_tile_rows + r]), b_units[v]);
      L::store(c, L::truncated_fma(L::to_float(sum), unit, L::load(c)));
    }
    void end() {}
  };
  /// C, exact before it is truncated: units are powers of two, C a multiple of the least. What is left are normal FP32
  /// numbers.
  struct InDouble {
    const BlockTask& t;
    Double c[block_tile_rows][2][2], b_units[2][2];

    explicit InDouble(const BlockTask& task) : t(task) {
      each([&](int r, int v) { L::halves(L::load(accumulators(t, r, v)), c[r][v]); });
    }
    void begin(int step) {
      for (int v = 0; v < 2; ++v) L::halves(L::load(t.b.units + step * cols + v * columns), b_units[v]);
    }
    void add(int step, Int sum, int r, int v) {
      Double s[2];
      L::halves(sum, s);
      const Double a_unit = L::broadcast(double{t.a.units[step * block_tile_rows + r]});
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h)
        c[r][v][h] = L::truncated(L::fma(s[h], L::multiply(a_unit, b_units[v][h]), c[r][v][h]));
    }
    void end() {
      each([&](int r, int v) { L::store(accumulators(t, r, v), L::joined(c[r][v])); });
    }
  };

  template <class Weights, class Addition>
  static void sums(const BlockTask& t) {
    Addition c(t);
    Place at(t);
    for (int s = 0; s < t.steps; ++s) {
      Weights sum[block_tile_rows][2];
#pragma GCC unroll 2
      for (int p = 0; p < 2; ++p, at.next()) {
        Dots dot;
        at.dots(dot);
        each([&](int r, int v) { sum[r][v].add(p == 0, at, dot[r][v], r, v); });
      }
      c.begin(s);
      each([&](int r, int v) { c.add(s, sum[r][v].total(), r, v); });
    }
    c.end();
  }

  /// What the model needs of a step: dots, and by pairs significands' products, exponents, and these again where a
  /// product of elements is not zero (else 0).
  struct Groups {
    Pair dot[2], significand[2], exponent[2], counted[2];

    void load(const BlockTask& t, int step, int p, Pair d, int r, int v) {
      const std::ptrdiff_t pair = 2 * step + p;
      const auto of_a = [&](const auto* x) {
        return L::broadcast_pair(x + (pair * block_tile_rows + r) * 2);
      };
      const auto of_b = [&](const auto* x) { return L::load(x + (pair * cols + v * columns) * 2); };
      dot[p] = d;
      significand[p] = L::multiply(of_a(t.a.significands), of_b(t.b.significands));
      exponent[p] = L::add(of_a(t.a.exponents), of_b(t.b.exponents));
      counted[p] = L::where_both(of_a(t.a.nonzero), of_b(t.b.nonzero), exponent[p]);
    }

    /// A group's sum, by its scale. Its exponent field is positive and below 2^8.
    Float term(int g) const {
      const Pair m = g % 2 ? L::second(significand[g / 2]) : L::first(significand[g / 2]);
      const Int e = L::as_int(exponent[g / 2]);
      const Int field = g % 2 ? L::template left<23>(L::template right<16>(e)) : L::template left<23>(e);
      return L::multiply(L::to_float(L::multiply_add(dot[g / 2], m)), L::as_float(field));
    }

    /// A power of two whose last bit as a binary64 is at e_max - F.
    Float far_above(Float c, const BlockTask& t) const {
      const Int both = L::as_int(L::largest(counted[0], counted[1]));
      const Int of_groups = L::largest(L::template right<16>(both), L::as_int(L::first(L::as_pair(both))));
      const Int top = L::largest(L::add(of_groups, L::broadcast(t.fraction_bits)), L::exponent_field(c));
      return L::as_float(L::template left<23>(L::add(top, L::broadcast(t.above))));
    }

    Float sum(Float c, const BlockTask& t) const {
      const Float terms[] = {c, term(0), term(1), term(2), term(3)};
      Double far[2], total[2], term[2];
      L::halves(far_above(c, t), far);
#pragma GCC unroll 5
      for (int i = 0; i <= step_groups; ++i) {
        L::halves(terms[i], term);
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) {
          const Double kept = L::cut(term[h], far[h]);
          total[h] = i == 0 ? kept : L::add(total[h], kept);
        }
      }
      return L::joined(total);
    }
  };

  static void full(const BlockTask& t) {
    Place at(t);
    for (int s = 0; s < t.steps; ++s) {
      Groups groups[block_tile_rows][2];
      for (int p = 0; p < 2; ++p, at.next()) {
        Dots dot;
        at.dots(dot);
        each([&](int r, int v) { groups[r][v].load(t, s, p, dot[r][v], r, v); });
      }
      each([&](int r, int v) {
        float* c = accumulators(t, r, v);
        L::store(c, groups[r][v].sum(L::load(c), t));
      });
    }
  }

  static constexpr BlockTiles tiles{cols,
                                    L::run,
                                    L::lane,
                                    L::unpack,
                                    pack_steps<L>,
                                    {{{sums<NarrowWeights, InFloat>, sums<NarrowWeights, InDouble>},
                                      {sums<WideWeights, InFloat>, sums<WideWeights, InDouble>}}},
                                    full};
};

}  // namespace
}  // namespace nvfp4::isa
