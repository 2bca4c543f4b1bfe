#pragma once
#include "../accumulator.hpp"
#include "isa.hpp"

/// Aligned steps of groups in loops that compilers turn into vectors. Compiled once an instruction set, so it
/// stands in each file's own namespace.
namespace nvfp4::isa {
namespace {

/// |x| / 2^below after a shift to the left, with the sign of x: a term cut to e_max - F.
inline std::int64_t cut_term(std::int64_t x, int left, int below) {
  const std::int64_t magnitude = (x < 0 ? -x : x) << left;
  const std::int64_t kept = magnitude >> (below < 63 ? below : 63);
  return x < 0 ? -kept : kept;
}

inline std::int64_t cut_accumulator(const cpu::Accumulator& c, int left, int below) {
  if (c.significand == 0) return 0;  // its exponent may lie above the largest
  return left >= 0 ? cut_term(c.significand, left, below) : cut_term(c.significand, 0, below - left);
}

/// A call of its own: inlined, it takes the registers that the loops around it need.
[[gnu::noinline]] std::uint32_t finish(std::int64_t sum, int unit) {
  return cpu::finish(sum, unit, cpu::target(Conversion::rz_fp32));
}

/// An exact dot product of doubled E2M1 values.
inline int dot16(const std::int16_t* a, const std::int16_t* b) {
  int sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int l = 0; l < 16; ++l) sum += a[l] * b[l];
  return sum;
}

template <int groups>
std::uint32_t group_step(const GroupChains& t, std::int64_t at_a, std::int64_t at_b, std::uint32_t code) {
  constexpr cpu::Target target = cpu::target(Conversion::rz_fp32);
  const cpu::Accumulator c = cpu::unpack(code, target);
  if (c.is_special) return code;
  std::int64_t term[groups];
  int exponent[groups], top = c.significand ? c.exponent : t.step.zero_exponent;
  for (int g = 0; g < groups; ++g) {
    const std::int64_t ga = at_a + g, gb = at_b + g;
    term[g] = dot16(t.a.doubled + 16 * ga, t.b.doubled + 16 * gb) * (t.a.scale[ga] * t.b.scale[gb]);
    exponent[g] = t.a.exponent[ga] + t.b.exponent[gb];
    const bool counts = t.a.nonzero[ga] & t.b.nonzero[gb];
    top = counts && top < exponent[g] ? exponent[g] : top;
  }
  std::int64_t sum = cut_accumulator(c, t.step.fraction_bits - target.mantissa_bits, top - c.exponent);
  for (int g = 0; g < groups; ++g)
    if (term[g]) sum += cut_term(term[g], t.step.left, top - exponent[g]);
  return finish(sum, top - t.step.fraction_bits);
}

template <int groups>
void group_chains_of(const GroupChains& t) {
  for (std::int64_t g = 0; g < t.groups; g += groups)
    for (std::int64_t j = 0; j < t.count; ++j)
      t.codes[j] = group_step<groups>(t, g, j * t.groups + g, t.codes[j]);
}

void group_chains(const GroupChains& t) {
  t.groups_a_step == 4 ? group_chains_of<4>(t) : group_chains_of<6>(t);
}

}  // namespace
}  // namespace nvfp4::isa
