#include <nvfp4/probes.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>

#include "hypotheses.hpp"

namespace nvfp4 {
namespace {

std::uint64_t e2m1(double value) {
  constexpr double magnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  const auto code = std::ranges::find(magnitudes, std::abs(value)) - std::begin(magnitudes);
  return static_cast<std::uint64_t>(code) | (value < 0 ? 8 : 0);
}

/// 2^exponent as a block scale: UE4M3 down to the subnormal 2^-9, or UE8M0.
std::uint8_t power(Format scale, int exponent) {
  if (scale == Format::e8m0) return static_cast<std::uint8_t>(exponent + 127);
  return static_cast<std::uint8_t>(exponent < -6 ? 1 << (exponent + 9) : (exponent + 7) << 3);
}

std::uint32_t bits(double value) { return std::bit_cast<std::uint32_t>(static_cast<float>(value)); }

/// A probe while it is written. Elements are zero and scales 1 where nothing is said.
class Writer {
 public:
  Writer(std::string name, std::int64_t k, int block, Format scale) : block_(block), scale_(scale) {
    const auto elements = static_cast<std::size_t>(k), blocks = static_cast<std::size_t>(k / block);
    p_.name = std::move(name);
    p_.a.resize(elements), p_.b.resize(elements);
    p_.a_scales.assign(blocks, power(scale, 0)), p_.b_scales = p_.a_scales;
  }
  /// `count` products a * b from element k on.
  Writer& products(std::int64_t k, double a, double b, int count = 1) {
    for (std::int64_t i = k; i < k + count; ++i)
      p_.a[static_cast<std::size_t>(i)] = e2m1(a), p_.b[static_cast<std::size_t>(i)] = e2m1(b);
    return *this;
  }
  /// Of the block that holds element k: 2^ea and 2^eb.
  Writer& scales(std::int64_t k, int ea, int eb) {
    return scale_codes(k, power(scale_, ea), power(scale_, eb));
  }
  Writer& scale_codes(std::int64_t k, std::uint8_t a, std::uint8_t b) {
    const auto block = static_cast<std::size_t>(k / block_);
    p_.a_scales[block] = a, p_.b_scales[block] = b;
    return *this;
  }
  Writer& c(double value) { return c_bits(bits(value)); }
  Writer& c_bits(std::uint32_t code) { return p_.c = code, *this; }

  /// One product of 2^16 by its sign, under the largest powers of two that UE4M3 has.
  Writer& big(std::int64_t k, double sign = 1) { return products(k, sign, 1).scales(k, 8, 8); }
  /// One product of 2^exponent; up to 2^-16 under its smallest scales.
  Writer& small(std::int64_t k, int exponent) {
    const int rest = exponent <= -16 ? exponent + 18 : 0, scale = exponent - rest;
    return products(k, std::ldexp(1, rest - (rest >> 1)), std::ldexp(1, rest >> 1))
        .scales(k, scale >> 1, scale - (scale >> 1));
  }
  operator Probe() const { return p_; }

 private:
  int block_;
  Format scale_;
  Probe p_;
};

std::string with_power(const std::string& name, int exponent) {
  return name + "_2^" + std::to_string(exponent);
}

/// In most probes 65536, from the largest scales, fixes the largest exponent; C or another group takes its value away
/// again; what is left of a third term tells how it was cut. That term stands in a block of its own, from here on.
constexpr std::int64_t apart = 32;

/// How many bits are kept, of products and of C.
template <class Make>
void width_probes(std::vector<Probe>& all, Make make) {
  for (const int e : {-20, -19, -18}) {
    all.push_back(make(with_power("F_products", e)).big(0).small(apart, e).c(-0x1p16));
    all.push_back(make(with_power("F_c", e)).big(0).big(16, -1).c(std::ldexp(1, e)));
  }
  const auto aligned = [&](double x, int count, int e) {
    const int sum = static_cast<int>(x * x) * count;
    return make(with_power("aligned_to_" + std::to_string(sum), e))
        .products(0, x, x, count)
        .scales(0, 8, 8)
        .products(16, -x, x, count)
        .scales(16, 8, 8)
        .small(apart, e);
  };
  for (const int e : {-20, -19, -16, -15})
    for (const double x : {1., 6.})
      for (const int count : {1, 16}) all.push_back(aligned(x, count, e));
  all.push_back(aligned(6, 1, -8));
}

/// Which way terms are cut, and what is cut as one.
template <class Make>
void cut_probes(std::vector<Probe>& all, Make make) {
  const auto cut = [&](std::string name) {
    return make(std::move(name)).big(0).scales(apart, -9, -9).c(-0x1p16);
  };
  all.push_back(cut("cut_positive").products(apart, 1.5, 0.5));
  all.push_back(cut("cut_negative").products(apart, -1.5, 0.5));
  all.push_back(cut("two_in_quarter").products(apart, 0.5, 0.5).products(apart + 1, 0.5, 0.5));
  all.push_back(cut("two_in_half").products(apart, 0.5, 0.5).products(apart + 4, 0.5, 0.5));
  all.push_back(cut("two_in_group").products(apart, 0.5, 0.5).products(apart + 8, 0.5, 0.5));
  all.push_back(make("c_low_bits").big(0).big(16, -1).c(1 + 0x1p-23));
}

template <class Make>
void zero_probes(std::vector<Probe>& all, Make make) {
  const auto k = static_cast<int>(Probe(make("")).a.size());
  all.push_back(make("zero_group").scales(0, 8, 8).small(apart, -20));
  all.push_back(make("minus_zero_group").scales(0, 8, 8).products(0, -0.5, 0, 16).small(apart, -20));
  all.push_back(
      make("cancelled_group").scales(0, 8, 8).products(0, 1, 1).products(1, -1, 1).small(apart, -20));
  all.push_back(make("minus_zeros").products(0, -0.5, 0, k).c_bits(0x80000000));
  all.push_back(make("c_subnormal").c_bits(1));
}

/// How the sum becomes FP32: last places of 65536 are 2^-7, of 2^24 2.
template <class Make>
void result_probes(std::vector<Probe>& all, Make make) {
  const auto rounded = [&](std::string name, double sign, double a, double b) {
    return make(std::move(name)).big(0, sign).products(apart, sign * a, b).scales(apart, -4, -4);
  };
  all.push_back(rounded("round_up", 1, 1.5, 1));
  all.push_back(rounded("round_down", -1, 1.5, 1));
  all.push_back(rounded("round_carry", 1, -0.5, 0.5));
  all.push_back(make("round_tie").big(0).small(apart, -20).c(0x1p-8));
  all.push_back(make("large_c").products(0, 1.5, 1).c(0x1p24));
}

/// C = 2^24, and products of 2 in all spread over these groups: a step that gets but 1 of it loses it.
template <class Make>
Probe spread(Make make, const std::vector<int>& groups) {
  std::string name = "steps";
  for (const int g : groups) name += "_" + std::to_string(g);
  Writer w = make(name);
  for (const int g : groups) w.products(g * 16, 2. / static_cast<double>(groups.size()), 1);
  return w.c(0x1p24);
}

template <class Make>
std::vector<Probe> common_probes(Make make) {
  std::vector<Probe> all;
  width_probes(all, make);
  cut_probes(all, make);
  zero_probes(all, make);
  result_probes(all, make);
  for (const auto& groups : std::vector<std::vector<int>>{{0, 1, 2, 3}, {0, 1}, {0, 2}, {1, 3}, {0, 3}})
    all.push_back(spread(make, groups));
  return all;
}

/// 27 * 2^22 from three groups, the most that leaves one.
template <class Make>
void wide_probes(std::vector<Probe>& all, Make make) {
  for (const int e : {-11, -10, -9}) {
    Writer w = make(with_power("F_wide", e)).small(48, e).c(-27 * 0x1p22);
    for (const int k : {0, 16, 32}) w.products(k, 6, 6, 16).scales(k, 8, 8);
    all.push_back(w);
  }
}

template <class Make>
void ue4m3_probes(std::vector<Probe>& all, Make make) {
  all.push_back(make("zero_scale").products(0, 1, 1).scale_codes(0, 0, 0x78).small(apart, -20));
  all.push_back(make("scale_bit_7").products(0, 1, 1).scale_codes(0, 0xB8, 0x38));
  all.push_back(make("scale_subnormal").products(0, 1, 1).scale_codes(0, 7, 7));
  all.push_back(make("nan_scale_of_zeros").products(apart, 1, 1).scale_codes(0, 0x7F, 0x38));
}

ProbeSet nvfp4_set() {
  const auto make = [](std::string name) { return Writer(std::move(name), 64, 16, Format::ue4m3); };
  ProbeSet set{"nvfp4", 16, common_probes(make), nvfp4_hypotheses()};
  wide_probes(set.probes, make);
  ue4m3_probes(set.probes, make);
  return set;
}

/// Which of two instructions' K comes first, and whether there is a result between them.
ProbeSet chain_set() {
  const auto make = [](std::string name) { return Writer(std::move(name), 128, 16, Format::ue4m3); };
  const auto order = [&](std::string name, int large, int small) {
    return make(std::move(name))
        .products(large * 16, 4, 4, 16)
        .scales(large * 16, 8, 8)
        .products(small * 16, 0.5, 1)
        .c(-0x1p24);
  };
  return {"nvfp4_chain",
          16,
          {order("large_first", 0, 4), order("large_last", 4, 0), order("large_first_odd", 1, 4),
           spread(make, {0, 4}), spread(make, {0, 1}), spread(make, {0, 2}),
           make("large_c").products(0, 1.5, 1).c(0x1p24)},
          chain_hypotheses()};
}

ProbeSet k96_set() {
  const auto make = [](std::string name) { return Writer(std::move(name), 96, 16, Format::ue4m3); };
  ProbeSet set{"nvfp4_k96", 16, common_probes(make), k96_hypotheses()};
  wide_probes(set.probes, make);
  ue4m3_probes(set.probes, make);
  for (const auto& groups : std::vector<std::vector<int>>{{0, 4}, {1, 2}, {2, 3}, {3, 4}, {4, 5}})
    set.probes.push_back(spread(make, groups));
  return set;
}

ProbeSet mxfp4_set() {
  const auto make = [](std::string name) { return Writer(std::move(name), 64, 32, Format::e8m0); };
  ProbeSet set{"mxfp4", 32, common_probes(make), mxfp4_hypotheses()};
  const auto add = [&](const Probe& p) { set.probes.push_back(p); };
  for (const int e : {-11, -10, -9})
    add(make(with_power("F_wide", e)).products(0, 1, 1).scales(0, 13, 13).small(apart, e).c(-0x1p26));
  add(make("two_in_block")
          .big(0)
          .scales(apart, -9, -9)
          .products(apart, 0.5, 0.5)
          .products(apart + 16, 0.5, 0.5)
          .c(-0x1p16));
  add(make("scale_smallest").products(0, 1, 1).scale_codes(0, 0, 127));
  add(make("nan_scale_of_zeros").products(apart, 1, 1).scale_codes(0, 0xFF, 127));
  return set;
}

std::uint64_t predict(const Probe& given, int block, const Hypothesis& h, const Kernels& kernels) {
  Probe p = given;
  if (h.read) h.read(p);
  const std::uint64_t c = p.c;
  MmaOperands x{.k = static_cast<std::int64_t>(p.a.size()), .block = block};
  x.scale = block == 16 ? Format::ue4m3 : Format::e8m0;
  x.a = p.a, x.b = p.b, x.c = {&c, 1}, x.a_scales = p.a_scales, x.b_scales = p.b_scales;
  return kernels.mma(x, h.acc, false)[0];
}

}  // namespace

std::vector<ProbeSet> probe_sets() { return {nvfp4_set(), chain_set(), k96_set(), mxfp4_set()}; }

std::vector<std::uint64_t> predict(const ProbeSet& set, const Hypothesis& h, const Kernels& kernels) {
  std::vector<std::uint64_t> d;
  for (const Probe& p : set.probes) d.push_back(predict(p, set.block, h, kernels));
  return d;
}

std::vector<std::string_view> survivors(const ProbeSet& set, const std::vector<std::uint64_t>& measured,
                                        const Kernels& kernels) {
  if (measured.size() != set.probes.size())
    throw std::invalid_argument(std::string(set.name) + ": expected " + std::to_string(set.probes.size()) +
                                " results, found " + std::to_string(measured.size()));
  std::vector<std::string_view> names;
  for (const Hypothesis& h : set.hypotheses)
    if (predict(set, h, kernels) == measured) names.push_back(h.name);
  return names;
}

}  // namespace nvfp4
