#pragma once
#include "../accumulator.hpp"
#include "isa.hpp"

/// Aligned steps of Accumulation in loops that compilers turn into vectors. Compiled once an instruction set, so it
/// stands in each file's own namespace.
namespace nvfp4::isa {
namespace {

/// |x| / 2^below after a shift to the left, with the sign of x: a term cut to e_max - F.
inline std::int64_t cut_term(std::int64_t x, int left, int below) {
  const std::int64_t magnitude = (x < 0 ? -x : x) << left;
  const std::int64_t kept = magnitude >> (below < 63 ? below : 63);
  return x < 0 ? -kept : kept;
}

inline std::int64_t cut_accumulator(const cpu::Accumulator& c, const AlignedStep& s, int top) {
  const int left = s.fraction_bits - s.target.mantissa_bits;
  return left >= 0 ? cut_term(c.significand, left, top - c.exponent)
                   : cut_term(c.significand, 0, top - c.exponent - left);
}

/// The sum of up to 16 products, each below 2^27, in 32 bits.
template <int count>
int cut_products(const std::int16_t* ma, const std::int16_t* mb, const std::int16_t* ea,
                 const std::int16_t* eb, int left, int top) {
  int sum = 0;
  for (int l = 0; l < count; ++l) {
    const int product = ma[l] * mb[l], below = top - (ea[l] + eb[l]);
    const int kept = static_cast<int>((static_cast<unsigned>(product < 0 ? -product : product) << left) >>
                                      (below < 31 ? below : 31));
    sum += product < 0 ? -kept : kept;
  }
  return sum;
}

template <int step>
std::uint32_t product_step(const ProductChains& t, std::int64_t at_a, std::int64_t at_b, std::uint32_t code) {
  const cpu::Accumulator c = cpu::unpack(code, t.step.target);
  if (c.is_special) return code;
  const std::int16_t *ea = t.a.exponent + at_a, *eb = t.b.exponent + at_b;
  const std::int16_t *ma = t.a.significand + at_a, *mb = t.b.significand + at_b;
  int top = c.significand ? c.exponent : t.step.zero_exponent;
  for (int l = 0; l < step; ++l) top = top < ea[l] + eb[l] ? ea[l] + eb[l] : top;
  std::int64_t sum = cut_accumulator(c, t.step, top);
  constexpr int part = step < 16 ? step : 16;
  for (int l = 0; l < step; l += part)
    sum += cut_products<part>(ma + l, mb + l, ea + l, eb + l, t.step.left, top);
  return cpu::finish(sum, top - t.step.fraction_bits, t.step.target);
}

template <int step>
void product_chains_of(const ProductChains& t) {
  for (std::int64_t k = 0; k < t.k; k += step)
    for (std::int64_t j = 0; j < t.count; ++j) t.codes[j] = product_step<step>(t, k, j * t.k + k, t.codes[j]);
}

void product_chains(const ProductChains& t) {
  switch (t.products) {
    case 4: return product_chains_of<4>(t);
    case 8: return product_chains_of<8>(t);
    case 16: return product_chains_of<16>(t);
    default: return product_chains_of<32>(t);
  }
}

/// An exact dot product of doubled E2M1 values.
inline int dot16(const std::int16_t* a, const std::int16_t* b) {
  int sum = 0;
  for (int l = 0; l < 16; ++l) sum += a[l] * b[l];
  return sum;
}

template <int groups>
std::uint32_t group_step(const GroupChains& t, std::int64_t at_a, std::int64_t at_b, std::uint32_t code) {
  const cpu::Accumulator c = cpu::unpack(code, t.step.target);
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
  std::int64_t sum = cut_accumulator(c, t.step, top);
  for (int g = 0; g < groups; ++g)
    if (term[g]) sum += cut_term(term[g], t.step.left, top - exponent[g]);  // a zero's exponent may lie above
  return cpu::finish(sum, top - t.step.fraction_bits, t.step.target);
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
