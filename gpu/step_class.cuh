#pragma once
#include <bit>
#include <cstdint>

#include "group_step.cuh"

/// How a step of sm100_nvfp4 may be computed from folded operands with the model's bits (see ExpandedOperand). Exponents
/// here are those of the model.
namespace nvfp4::gpu {

constexpr int no_unit = INT16_MAX, no_top = INT16_MIN;

/// What ExpandedOperand tells of a tile-step.
struct StepStats {
  float range;
  int unit, top;
};

enum class StepClass : std::uint8_t {
  chain,    ///< the step's products add up exactly in FP32; one addition toward zero
  split,    ///< they do in two FP32 numbers, a coarse one and the rest
  literal,  ///< bits may be cut by the alignment: group_step()
};

/// C is a multiple of 2^unit, and |C| <= bound * 2^28.
struct Accumulated {
  int unit = no_unit;
  float bound = 0;
};

/// `unit` is that of C and the step together; the class holds where |C| < limit * 2^28.
struct StepRule {
  StepClass step_class;
  int unit;
  float limit;
};

NVFP4_HOST_DEVICE constexpr float power_of_two(int exponent) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(127 + exponent) << 23);
}

/// Of 1 to 15.
NVFP4_HOST_DEVICE constexpr int trailing_zeros(int x) { return x & 1 ? 0 : x & 2 ? 1 : x & 4 ? 2 : 3; }

/// Folded products are 2^-28 of the model's.
constexpr int folded_bits = 28;

/// |sum of a step's products| < 2^(top + 13): 4 groups of at most 576 * (15 / 8)^2 * 2^top.
constexpr int sum_bits = 13;

/// The coarse part is kept in multiples of 2^(unit + coarse_bits).
constexpr int coarse_bits = 18;

/// What a sum is added to, so that its coarse part stays in FP32: it lies in the middle of a binade of that grid.
NVFP4_HOST_DEVICE constexpr float coarse_origin(int unit) {
  return 1.5f * power_of_two(unit + coarse_bits + 23 - folded_bits);
}

NVFP4_HOST_DEVICE inline bool is_zero_step(const StepStats& a, const StepStats& b) {
  return a.unit == no_unit || b.unit == no_unit;
}

/// Alignment cuts below 2^(e_max - 35). Groups' exponents are at most `top`, so nothing of the step or of C is lost where
/// that is at most the unit of both, and |C| < 2^(unit of the step + 36).
/// Chain: by Cauchy and Schwarz every partial sum of products, in whole units of its row and column, stays below 2^24,
/// and no MMA cuts that (F >= 24). Split: see split_step().
NVFP4_HOST_DEVICE inline StepRule step_rule(const StepStats& a, const StepStats& b, int unit_of_c) {
  constexpr float unlimited = std::bit_cast<float>(infinity_code);
  if (is_zero_step(a, b)) return {StepClass::chain, unit_of_c, unlimited};
  const int step_unit = a.unit + b.unit, top = a.top + b.top;
  const int unit = step_unit < unit_of_c ? step_unit : unit_of_c;
  const int unseen = step_unit + fraction_bits + 1, room = unit + coarse_bits + 21;
  if (a.range * b.range < 0x1p24f && top - fraction_bits <= unit)
    return {StepClass::chain, unit, power_of_two(unseen - folded_bits)};
  if (top + sum_bits < room)
    return {StepClass::split, unit, power_of_two((unseen < room ? unseen : room) - folded_bits)};
  return {StepClass::literal, unit, unlimited};
}

NVFP4_HOST_DEVICE inline Accumulated after(const Accumulated& c, const StepRule& rule, const StepStats& a,
                                           const StepStats& b) {
  if (is_zero_step(a, b)) return c;
  constexpr float up = 0x1.000004p0f;  // more than two roundings to nearest take away
  return {rule.unit, (c.bound + power_of_two(a.top + b.top + sum_bits - folded_bits)) * up};
}

}  // namespace nvfp4::gpu
