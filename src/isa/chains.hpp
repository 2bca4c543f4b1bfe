#pragma once
#include <cstring>

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

inline std::int64_t cut_accumulator(const cpu::Accumulator& c, int left, int below) {
  if (c.significand == 0) return 0;  // its exponent may lie above the largest
  return left >= 0 ? cut_term(c.significand, left, below) : cut_term(c.significand, 0, below - left);
}

/// `count` numbers side by side in the compilers' own vector types: 4, or twice 4.
template <int count>
struct Numbers {
  using Type = std::int32_t __attribute__((vector_size(16)));
  using Short = std::int16_t __attribute__((vector_size(8)));
};
template <>
struct Numbers<8> {
  using Type = std::int32_t __attribute__((vector_size(32)));
  using Short = std::int16_t __attribute__((vector_size(16)));
};

template <int count>
void load(const std::int16_t* from, typename Numbers<count>::Type& to) {
  typename Numbers<count>::Short shorts;
  std::memcpy(&shorts, from, sizeof shorts);
  to = __builtin_convertvector(shorts, typename Numbers<count>::Type);
}

/// Exponents of `count` products.
template <int count>
void exponents(const std::int16_t* ea, const std::int16_t* eb, typename Numbers<count>::Type& to) {
  typename Numbers<count>::Type other;
  load<count>(ea, to);
  load<count>(eb, other);
  to += other;
}

/// The largest exponent of `count` products.
template <int count>
int largest_sum(const std::int16_t* ea, const std::int16_t* eb) {
  using Four = Numbers<4>::Type;
  constexpr int lanes = count < 8 ? 4 : 8;
  typename Numbers<lanes>::Type top, e;
  exponents<lanes>(ea, eb, top);
  for (int l = lanes; l < count; l += lanes) {
    exponents<lanes>(ea + l, eb + l, e);
    top = top < e ? e : top;
  }
  Four four[lanes / 4];
  std::memcpy(four, &top, sizeof four);
  Four low = four[0], high = four[lanes / 4 - 1];
  low = low < high ? high : low;
  high = __builtin_shufflevector(low, low, 2, 3, 0, 1);
  low = low < high ? high : low;
  return low[0] < low[1] ? low[1] : low[0];
}

/// The sum of up to 16 products, each below 2^27, in 32 bits.
template <int count>
int cut_products(const std::int16_t* ma, const std::int16_t* mb, const std::int16_t* ea,
                 const std::int16_t* eb, int left, int top) {
  using Four = Numbers<4>::Type;
  constexpr int lanes = count < 8 ? 4 : 8;
  using Type = typename Numbers<lanes>::Type;
  Type sum = {};
  for (int l = 0; l < count; l += lanes) {
    Type a, b, e;
    load<lanes>(ma + l, a);
    load<lanes>(mb + l, b);
    exponents<lanes>(ea + l, eb + l, e);
    const Type product = a * b, sign = product >> 31, far = top - e;
    const Type below = far < 31 ? far : Type{} + 31;
    const Type kept = (((product ^ sign) - sign) << left) >> below;  // below 2^27: no sign to shift in
    sum += (kept ^ sign) - sign;
  }
  Four four[lanes / 4];
  std::memcpy(four, &sum, sizeof four);
  const Four low = lanes == 8 ? four[0] + four[lanes / 4 - 1] : four[0];
  return low[0] + low[1] + low[2] + low[3];
}

template <int step, Conversion out>
std::uint32_t product_step(const ProductChains& t, std::int64_t at_a, std::int64_t at_b, std::uint32_t code) {
  constexpr cpu::Target target = cpu::target(out);
  const cpu::Accumulator c = cpu::unpack(code, target);
  if (c.is_special) return code;
  const std::int16_t *ea = t.a.exponent + at_a, *eb = t.b.exponent + at_b;
  const std::int16_t *ma = t.a.significand + at_a, *mb = t.b.significand + at_b;
  const int largest = largest_sum<step>(ea, eb), of_c = c.significand ? c.exponent : t.step.zero_exponent;
  const int top = largest < of_c ? of_c : largest;
  std::int64_t sum = cut_accumulator(c, t.step.fraction_bits - target.mantissa_bits, top - c.exponent);
  constexpr int part = step < 16 ? step : 16;
  for (int l = 0; l < step; l += part)
    sum += cut_products<part>(ma + l, mb + l, ea + l, eb + l, t.step.left, top);
  return cpu::finish(sum, top - t.step.fraction_bits, target);
}

template <int step, Conversion out>
void product_chains_of(const ProductChains& t) {
  for (std::int64_t k = 0; k < t.k; k += step)
    for (std::int64_t j = 0; j < t.count; ++j)
      t.codes[j] = product_step<step, out>(t, k, j * t.k + k, t.codes[j]);
}

template <Conversion out>
void product_chains_to(const ProductChains& t) {
  switch (t.products) {
    case 4: return product_chains_of<4, out>(t);
    case 8: return product_chains_of<8, out>(t);
    case 16: return product_chains_of<16, out>(t);
    default: return product_chains_of<32, out>(t);
  }
}

void product_chains(const ProductChains& t) {
  t.step.out == Conversion::rne_fp16 ? product_chains_to<Conversion::rne_fp16>(t)
                                     : product_chains_to<Conversion::rz_fp32>(t);
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
  return cpu::finish(sum, top - t.step.fraction_bits, target);
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
