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

  /// Accumulators and units of step s.
  static float* accumulators(const BlockTask& t, int r, int v) { return t.c + r * cols + v * columns; }
  static Float unit(const BlockTask& t, int s, int r, int v) {
    return L::multiply(L::broadcast(t.a.units[s * block_tile_rows + r]),
                       L::load(t.b.units + s * cols + v * columns));
  }

  template <class Use>
  static void each(Use use) {
#pragma GCC unroll 4
    for (int r = 0; r < block_tile_rows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) use(r, v);
  }

  /// S of each step by `weighted`, what a pair of groups adds to it, and from it and C by `next` the new C.
  template <class Weighted, class Next>
  static void each_step(const BlockTask& t, Weighted weighted, Next next) {
    Int sum[block_tile_rows][2];
    each([&](int r, int v) { sum[r][v] = L::broadcast(0); });
    Place at(t);
    for (int pair = 0; pair < 2 * t.steps; ++pair, at.next()) {
      Dots dot;
      at.dots(dot);
      each([&](int r, int v) {
        const Int more = weighted(at, dot[r][v], r, v);
        sum[r][v] = pair % 2 ? L::add(sum[r][v], more) : more;
      });
      if (pair % 2 == 0) continue;
      each([&](int r, int v) {
        float* c = accumulators(t, r, v);
        L::store(c, next(sum[r][v], unit(t, pair / 2, r, v), L::load(c)));
      });
    }
  }

  /// What a pair of groups adds to S.
  struct NarrowWeights {
    static Int add(const Place& at, Pair dot, int r, int v) {
      return L::multiply_add(dot, L::multiply(at.a_weight(r), at.b_weight(v)));
    }
  };
  /// dot * wa * wb modulo 2^32: of wa * wb the low half as a signed number, and what then is missing above.
  struct WideWeights {
    static Int add(const Place& at, Pair dot, int r, int v) {
      const Pair a = at.a_weight(r), b = at.b_weight(v);
      const Pair low = L::multiply(a, b), high = L::subtract(L::multiply_high(a, b), L::sign(low));
      return L::add(L::multiply_add(dot, low), L::template left<16>(L::multiply_add(dot, high)));
    }
  };

  struct InFloat {
    static Float next(Int sum, Float unit, Float c) { return L::truncated_fma(L::to_float(sum), unit, c); }
  };
  struct InDouble {
    static Float next(Int sum, Float unit, Float c) {
      const auto half = [&](auto h) {  // exact: units are powers of two, C a multiple of the least
        return L::add(h(c), L::multiply(h(sum), h(unit)));
      };
      return L::truncated(half([](auto x) { return L::low(x); }), half([](auto x) { return L::high(x); }));
    }
  };

  template <class Weights, class Addition>
  static void sums(const BlockTask& t) {
    each_step(
        t, [](const Place& at, Pair dot, int r, int v) { return Weights::add(at, dot, r, v); },
        [](Int sum, Float unit, Float c) { return Addition::next(sum, unit, c); });
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
      const Float far = far_above(c, t);
      const Float terms[] = {c, term(0), term(1), term(2), term(3)};
      const auto half = [&](auto h) {
        Double total = L::cut(h(terms[0]), h(far));
        for (int i = 1; i <= step_groups; ++i) total = L::add(total, L::cut(h(terms[i]), h(far)));
        return total;
      };
      return L::truncated(half([](Float x) { return L::low(x); }), half([](Float x) { return L::high(x); }));
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
