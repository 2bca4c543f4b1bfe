#include "dialect_evidence.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <nvfp4/identify.hpp>
#include <nvfp4/kernels.hpp>

#include "../number_text.hpp"

namespace nvfp4 {
namespace {

using Witness = std::pair<std::uint8_t, std::array<std::uint8_t, 8>>;

bool is_nvfp4(const Dialect& d) {
  return d.element == Format::e2m1 && d.block_cols == 16 &&
         (d.scale == Format::ue4m3 || d.scale == Format::e4m3);
}

/// The witnesses as a tensor of one block a row. A plain row keeps sixteen of them from looking like one tile.
std::vector<Exclusion> excluded_by(const std::vector<Witness>& witnesses, std::optional<float> second) {
  std::vector<std::uint8_t> codes(8, 0x77), scales{0x38};
  for (const auto& [scale, block] : witnesses) {
    codes.insert(codes.end(), block.begin(), block.end());
    scales.push_back(scale);
  }
  const std::vector<float> global(second ? 1 : 0, second.value_or(1));
  return exclusions({static_cast<std::int64_t>(scales.size()), codes, scales, global});
}

/// Whether the second-level scale is of the weight's own amax, as a dialect makes it: a shared one, or one of another
/// amax, leaves block scales that the dialect by itself would not.
bool is_own_scale(const WeightFacts& f, const std::map<float, int>& users) {
  if (!f.second) return true;
  constexpr int code_of_448 = 0x7E;
  for (std::size_t e = 0; e < f.experts.size(); ++e)
    if (f.experts[e].top_scale != code_of_448 && users.at(f.second_at(e)) > 1) return false;
  return true;
}

/// How many matrices have a second-level scale.
std::map<float, int> users_of_scales(std::span<const WeightFacts> facts) {
  std::map<float, int> users;
  for (const WeightFacts& f : facts)
    for (std::size_t e = 0; f.second && e < f.experts.size(); ++e)
      if (!std::isnan(f.second_at(e))) ++users[f.second_at(e)];
  return users;
}

bool has_nan(const WeightFacts& f) {
  return f.second &&
         std::any_of(f.second->values.begin(), f.second->values.end(), [](float v) { return std::isnan(v); });
}

/// Scales that a dialect gives to blocks whose codes are all zero, in a tensor of its own amax.
std::set<std::uint8_t> zero_block_scales(const Dialect& d) {
  std::set<std::uint8_t> scales;
  for (const float tiny : {0.f, 0x1p-100f, 0x1p-40f, 0x1p-20f, 0x1p-14f, 0x1p-11f}) {
    Matrix x(2, 16);
    for (int j = 0; j < 16; ++j) x.f32()[j] = 1, x.f32()[16 + j] = tiny;
    const BlockScaledTensor t = cpu_kernels().quantize(x.view(), default_spec(d), {});
    if (std::all_of(t.codes.begin() + 8, t.codes.end(), [](std::uint8_t c) { return (c & 0x77) == 0; }))
      scales.insert(t.scales[1]);
  }
  return scales;
}

/// A normal scale belongs to a block whose largest code is none of zero, unless it is a policy for blocks of zeros.
std::string zero_block_exclusion(const Dialect& d, const std::array<std::int64_t, 256>& of_zeros) {
  if (std::all_of(of_zeros.begin() + 0x08, of_zeros.begin() + 0x7F, [](auto n) { return n == 0; })) return "";
  const std::set<std::uint8_t> own = zero_block_scales(d);
  for (unsigned code = 0x08; code < 0x7F; ++code)
    if (of_zeros[code] && !own.contains(static_cast<std::uint8_t>(code)))
      return "a block of zeros has scale " + hex8(code) + ", which it gives to none";
  return "";
}

}  // namespace

bool DialectEvidence::producer_possible() const {
  return std::find(possible.begin(), possible.end(), producer) != possible.end();
}

std::optional<DialectEvidence> dialect_evidence(std::span<const HeldWeight> weights,
                                                std::span<const WeightFacts> facts, const Dialect& producer) {
  std::set<std::vector<Witness>> kinds;  // what some weight shows; tried once each
  std::array<std::int64_t, 256> of_zeros{};
  bool any = false, second = true;
  constexpr std::size_t most = 64;
  const std::map<float, int> users = users_of_scales(facts);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i].weight.scale != Format::ue4m3) continue;
    any = true;
    second &= facts[i].second.has_value();
    if (has_nan(facts[i]) || !is_own_scale(facts[i], users)) continue;
    std::vector<Witness> witnesses;
    for (const WitnessBlock& w : facts[i].witnesses) witnesses.emplace_back(w.scale, w.codes);
    if (!witnesses.empty() && kinds.size() < most) kinds.insert(witnesses);
    if (facts[i].witnesses.empty()) continue;
    for (std::size_t code = 0; code < of_zeros.size(); ++code) of_zeros[code] += facts[i].of_zeros[code];
  }
  if (!any) return std::nullopt;
  std::map<std::string_view, std::string> why;
  for (const std::vector<Witness>& witnesses : kinds)
    for (const Exclusion& e : excluded_by(witnesses, second ? std::optional(0.5f) : std::nullopt))
      why.try_emplace(e.dialect->name, e.why);
  DialectEvidence evidence{.producer = producer.name, .excluded = {}, .possible = {}};
  for (const Dialect* d : all_dialects()) {
    if (!is_nvfp4(*d)) continue;
    if (!why.contains(d->name))
      if (std::string zero = zero_block_exclusion(*d, of_zeros); !zero.empty())
        why[d->name] = std::move(zero);
    if (const auto found = why.find(d->name); found != why.end())
      evidence.excluded.push_back({d->name, found->second});
    else
      evidence.possible.push_back(d->name);
  }
  return evidence;
}

}  // namespace nvfp4
