#pragma once
#include <algorithm>
#include <bit>
#include <cstring>

#include "block_tiles.hpp"

/// BlockTiles::pack. Compiled once an instruction set, so it stands in each file's own namespace.
namespace nvfp4::isa {
namespace {

inline double power_of_two(int exponent) {
  return std::bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52);
}

/// Four groups. Exponents and weights are of those that count.
struct PackedStep {
  CodePair pairs[2];
  std::int16_t weights[step_groups];
  int least = 1000, largest = -1000;
  double norm = 0;  ///< also of a spread whose weights have no room

  void weigh(const ScaleFields* scale_of, const std::uint8_t* scales) {
    ScaleFields counted[step_groups];
    for (int g = 0; g < step_groups; ++g) {
      const ScaleFields s = scale_of[scales[g]];
      const bool counts = pairs[g / 2].nonzero[g % 2] != 0 && s.significand != 0;
      counted[g] = counts ? s : ScaleFields{0, 1000};
      least = std::min<int>(least, counted[g].exponent);
      largest = std::max<int>(largest, counts ? s.exponent : -1000);
    }
    for (int g = 0; g < step_groups; ++g) {
      const ScaleFields s = counted[g];
      const int shift = s.significand ? s.exponent - least : 0;
      weights[g] = static_cast<std::int16_t>(s.significand << std::min(shift, most_spread));
      const double weight = s.significand * power_of_two(shift);
      norm += pairs[g / 2].squares[g % 2] * weight * weight;
    }
  }
  int unit() const { return least == 1000 ? 0 : least; }
};

/// A pair's two offsets, in as many bytes as the dots are summed in.
template <int run>
void store_offsets(const CodePair& pair, std::byte* to) {
  using Number = std::conditional_t<run == 2, std::int16_t, std::int32_t>;
  const Number offsets[] = {static_cast<Number>(-12 * pair.sums[0]), static_cast<Number>(-12 * pair.sums[1])};
  static_assert(sizeof offsets == 2 * run);
  std::memcpy(to, offsets, sizeof offsets);
}

template <class L>
PackFacts pack_steps(const PackTask& t) {
  constexpr int run = L::run, runs = 2 * group_size / (2 * run);
  const std::ptrdiff_t rows = t.rows;
  std::uint8_t* values = t.values;
  std::int16_t* weights = t.weights;
  std::byte* offsets = t.offsets;
  float* units = t.units;
  PackFacts facts;
  for (int s = 0; s < t.steps; ++s, units += rows) {
    PackedStep step;
    for (int p = 0; p < 2; ++p) L::unpack(t.codes + 32 * s + 16 * p, t.value_offset, step.pairs[p]);
    step.weigh(t.scale_of, t.scales + step_groups * s);
    for (int p = 0; p < 2; ++p, values += rows * 2 * group_size, weights += rows * 2) {
      for (int k = 0; k < runs; ++k)
        std::memcpy(values + k * rows * 2 * run, step.pairs[p].values + k * 2 * run, 2 * run);
      std::memcpy(weights, step.weights + 2 * p, 4);
      if (offsets) store_offsets<run>(step.pairs[p], offsets), offsets += rows * 2 * run;
    }
    const double unit = power_of_two(step.unit() - t.fraction_bits);
    *units = static_cast<float>(unit);
    facts.spread = std::max(facts.spread, step.largest - step.least);
    facts.norm = std::max(facts.norm, step.norm);
    facts.least = std::min(facts.least, step.least);
    facts.largest = std::max(facts.largest, step.largest);
    facts.square += step.norm * (unit * unit);
  }
  return facts;
}

}  // namespace
}  // namespace nvfp4::isa
