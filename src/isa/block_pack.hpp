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

/// Of a step's weights and digits: the largest that divides its values.
inline double unit_of(const StepScales& step, int fraction_bits) {
  return power_of_two((step.least == 1000 ? 0 : step.least) - fraction_bits);
}

inline void add_facts(PackFacts& facts, const StepScales& step, double unit) {
  facts.spread = std::max(facts.spread, step.largest - step.least);
  facts.norm = std::max(facts.norm, step.norm);
  facts.least = std::min(facts.least, step.least);
  facts.largest = std::max(facts.largest, step.largest);
  facts.square += step.norm * (unit * unit);
  facts.has_nan |= step.has_nan;
}

template <class L>
PackFacts pack_steps(const PackTask& t) {
  constexpr int run = L::run, runs = group_size / run;
  const std::ptrdiff_t rows = t.rows;
  std::uint8_t* values = t.values;
  std::int16_t* weights = t.weights;
  std::byte* offsets = t.offsets;
  PackFacts facts;
  for (int s = 0; s < t.steps; ++s) {
    StepCodes codes;
    L::unpack(t.codes + step_k / 2 * s, t.value_offset, codes);
    const StepScales scales = L::weigh(t.scale_of, t.scales + step_groups * s, codes.squares);
    for (int p = 0; p < 2; ++p, values += rows * 2 * group_size, weights += rows * 2) {
#pragma GCC unroll 8
      for (int k = 0; k < runs; ++k)
        std::memcpy(values + k * rows * 2 * run, codes.values + 2 * (p * group_size + k * run), 2 * run);
      std::memcpy(weights, scales.weights + 2 * p, 4);
      if (offsets) std::memcpy(offsets, codes.offsets + 2 * run * p, 2 * run), offsets += rows * 2 * run;
    }
    const double unit = unit_of(scales, t.fraction_bits);
    t.units[s * rows] = static_cast<float>(unit);
    add_facts(facts, scales, unit);
  }
  return facts;
}

}  // namespace
}  // namespace nvfp4::isa
