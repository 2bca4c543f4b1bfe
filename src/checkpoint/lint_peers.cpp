#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "lint.hpp"
#include "siblings.hpp"

/// What shows when weights are held against one another.
namespace nvfp4 {
namespace {

/// One matrix and what it decodes to.
struct Level {
  std::size_t weight, expert;
  double top;     ///< largest element times block scale
  double decode;  ///< what the second-level scale multiplies by
  double peers =
      0;  ///< median of the other matrices' amax, of the same kind where there are enough; 0: none known
  double amax() const { return top * decode; }
};

std::vector<Level> levels(const LintInput& in) {
  std::vector<Level> all;
  for (std::size_t i = 0; i < in.facts.size(); ++i)
    for (std::size_t e = 0; in.facts[i].second && e < in.facts[i].experts.size(); ++e) {
      const Level level{i, e, in.facts[i].experts[e].top, in.facts[i].decode_at(e)};
      if (level.amax() > 0 && std::isfinite(level.amax())) all.push_back(level);
    }
  return all;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string leaf_of(const std::string& weight) {
  const std::string module = module_of(weight);
  return module.substr(module.rfind('.') + 1);
}

/// Matrices of one leaf name ("q_proj") are alike; where there are few of them, all are taken.
void add_peers(const LintInput& in, std::vector<Level>& all) {
  constexpr std::size_t enough = 4;
  std::map<std::string, std::vector<double>> by_leaf;
  std::vector<double> every;
  for (const Level& level : all) {
    by_leaf[leaf_of(in.weights[level.weight].weight.name)].push_back(level.amax());
    every.push_back(level.amax());
  }
  std::map<std::string, double> medians;
  for (const auto& [leaf, values] : by_leaf)
    if (values.size() >= enough) medians[leaf] = median(values);
  const double of_all = every.size() >= enough ? median(every) : 0;
  for (Level& level : all) {
    const auto own = medians.find(leaf_of(in.weights[level.weight].weight.name));
    level.peers = own == medians.end() ? of_all : own->second;
  }
}

bool within(double x, double low, double high) { return low <= x && x <= high; }
bool near(double x, double other) { return within(x / other, 0.125, 8); }

/// No weight of a trained network reaches float16's end; by itself a scale is believed up to there.
bool is_inverted(const Level& level) {
  const double amax = level.amax(), other = level.top / level.decode;
  if (amax > 65504 && within(other, 0x1p-13, 0x1p10)) return true;
  return level.peers > 0 && !within(amax / level.peers, 0x1p-14, 0x1p14) && near(other, level.peers);
}

/// The root of the scale brings the weight among its peers; without any, to a common size from below 2^-13.
bool is_squared(const Level& level) {
  const double amax = level.amax(), other = level.top * std::sqrt(level.decode);
  if (level.decode > 0x1p-16) return false;
  if (level.peers > 0x1p-13) return amax / level.peers < 0x1p-8 && near(other, level.peers);
  return amax < 0x1p-13 && within(other, 0x1p-7, 0x1p5);
}

/// The largest block scale is what 448 or 256 becomes by the second-level scale, rounded to E4M3.
bool is_in_block_scales(const Level& level, int top_scale) {
  if (level.decode > 0x1p-4) return false;
  const double scale = block_scale_value(Format::ue4m3, static_cast<std::uint8_t>(top_scale));
  const double step = std::max(scale / 16, 0x1p-10);  // half the distance to the next code, at most
  return within(448 * level.decode, scale - step, scale + step) ||
         within(256 * level.decode, scale - step, scale + step);
}

std::string peers_text(const Level& level) {
  return level.peers > 0 ? "; the median of its peers is " + number_text(level.peers) : "";
}

void lint_level(const LintInput& in, const Level& level, Findings& findings) {
  const Weight& w = in.weights[level.weight].weight;
  const WeightFacts& f = in.facts[level.weight];
  const bool divides = f.second->use == ScaleUse::divides;
  const std::string which = w.experts() > 1 ? "expert " + std::to_string(level.expert) + ": " : "";
  const std::string found = which + "second-level scale " + number_text(f.second_at(level.expert)) +
                            (divides ? " divides" : " multiplies") + ": the largest weight is " +
                            number_text(level.amax());
  const std::string would = ", and would be ";
  if (is_inverted(level))
    findings.add("NV001", w.name,
                 found + would + number_text(level.top / level.decode) +
                     " by the reciprocal, a factor of g^2 = " + number_text(1 / level.decode / level.decode) +
                     peers_text(level));
  else if (w.scale == Format::ue4m3 && is_in_block_scales(level, f.experts[level.expert].top_scale))
    findings.add("NV002", w.name,
                 found + would + number_text(level.top) + " without it: the block scales end at " +
                     number_text(block_scale_value(
                         w.scale, static_cast<std::uint8_t>(f.experts[level.expert].top_scale))) +
                     ", 448 or 256 times the scale" + peers_text(level));
  else if (is_squared(level))
    findings.add("NV002", w.name,
                 found + would + number_text(level.top * std::sqrt(level.decode)) + " by its square root" +
                     peers_text(level));
}

// Siblings.

using Siblings = std::map<std::string, std::vector<std::size_t>>;

Siblings siblings(const LintInput& in) {
  Siblings all;
  for (std::size_t i = 0; i < in.weights.size(); ++i)
    if (const auto key = sibling_key(in.weights[i].weight.name)) all[*key].push_back(i);
  return all;
}

bool is_usable(const WeightFacts& f) {
  return f.second && std::all_of(f.second->values.begin(), f.second->values.end(),
                                 [](float v) { return v > 0 && std::isfinite(v); });
}

/// An engine that keeps one scale for all, unchanged block scales under it, stretches the others by the ratio.
void lint_shared(const LintInput& in, const std::vector<std::size_t>& group, std::size_t expert,
                 Findings& findings) {
  std::size_t largest = group[0], smallest = group[0];
  for (const std::size_t i : group) {
    if (in.facts[i].decode_at(expert) > in.facts[largest].decode_at(expert)) largest = i;
    if (in.facts[i].decode_at(expert) < in.facts[smallest].decode_at(expert)) smallest = i;
  }
  const double ratio = in.facts[largest].decode_at(expert) / in.facts[smallest].decode_at(expert);
  if (ratio == 1) return;
  const Weight &large = in.weights[largest].weight, &small = in.weights[smallest].weight;
  const bool divides = in.facts[largest].second->use == ScaleUse::divides;
  const auto taken = [&](const Weight& w, double factor) {
    return leaf_of(w.name) + " by " + number_text(factor) + " (error " + percent_text(std::abs(factor - 1)) +
           ")";
  };
  findings.add(
      "NV003", small.name,
      (large.experts() > 1 ? "expert " + std::to_string(expert) + ": " : "") + "its second-level scale " +
          number_text(in.facts[smallest].second_at(expert)) + " and " + leaf_of(large.name) + "'s " +
          number_text(in.facts[largest].second_at(expert)) + " differ by " + number_text(ratio) +
          ": an engine that takes the largest stored one for all stretches " +
          (divides ? taken(large, 1 / ratio) : taken(small, ratio)) + ", one that takes the smallest " +
          (divides ? taken(small, ratio) : taken(large, 1 / ratio)));
}

void lint_scales(const LintInput& in, const std::vector<std::size_t>& group, Findings& findings) {
  std::vector<std::size_t> usable;
  for (const std::size_t i : group)
    if (is_usable(in.facts[i]) && !findings.has("NV001", in.weights[i].weight.name) &&
        !findings.has("NV002", in.weights[i].weight.name) &&
        in.weights[i].weight.experts() == in.weights[group[0]].weight.experts())
      usable.push_back(i);
  if (usable.size() < 2) return;
  for (std::size_t e = 0; e < in.facts[usable[0]].experts.size(); ++e) lint_shared(in, usable, e, findings);
}

// Nibbles.

/// How alike the steps between paired columns are, from -1 to 1; swapped nibbles in one of the two turn the sign.
double likeness(const std::vector<float>& a, const std::vector<float>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t j = 0; j < a.size(); ++j) ab += a[j] * b[j], aa += a[j] * a[j], bb += b[j] * b[j];
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0;
}

/// Gate and up weigh the channels of their input alike: over 30 layers of a real model the likeness is -0.04 to 0.84.
/// q and k may not (-0.5 to 0.96 there), and v still less.
struct Pair {
  std::size_t first, second;
  double likeness, deviations;
};

bool is_gated(const std::string& leaf) {
  constexpr std::array<std::string_view, 8> names{
      "gate_proj", "up_proj", "w1", "w3", "ffn_gate", "ffn_up", "ffn_gate_exps", "ffn_up_exps"};
  return std::find(names.begin(), names.end(), leaf) != names.end();
}

std::optional<Pair> pair_of(const LintInput& in, const std::vector<std::size_t>& group) {
  if (group.size() != 2 || !is_gated(leaf_of(in.weights[group[0]].weight.name))) return std::nullopt;
  const auto &a = in.facts[group[0]].pair_steps, &b = in.facts[group[1]].pair_steps;
  if (a.size() != b.size()) return std::nullopt;
  const double alike = likeness(a, b);
  return Pair{group[0], group[1], alike, alike * std::sqrt(static_cast<double>(a.size()))};
}

void add_swapped(const LintInput& in, const Pair& pair, double others, Findings& findings) {
  findings.add("NV011", in.weights[pair.second].weight.name,
               "columns 2j and 2j+1 are larger and smaller where those of " +
                   leaf_of(in.weights[pair.first].weight.name) +
                   " are smaller and larger: their correlation is " + number_text(pair.likeness) + ", " +
                   number_text(-pair.deviations) + " standard deviations; the median of such pairs is " +
                   number_text(others) + ". Which of the two is swapped, they do not tell");
}

/// Opposite where such pairs are alike in most layers.
void lint_nibbles(const LintInput& in, const Siblings& all, Findings& findings) {
  constexpr std::size_t enough = 3;
  std::map<std::string, std::vector<Pair>> by_leaf;
  for (const auto& [key, group] : all)
    if (const auto pair = pair_of(in, group))
      by_leaf[leaf_of(in.weights[pair->first].weight.name)].push_back(*pair);
  for (const auto& [leaf, pairs] : by_leaf) {
    if (pairs.size() < enough) continue;
    std::vector<double> alike;
    for (const Pair& pair : pairs) alike.push_back(pair.likeness);
    const double others = median(alike);
    for (const Pair& pair : pairs)
      if (others > 0.25 && pair.likeness < -0.5 && pair.deviations < -8)
        add_swapped(in, pair, others, findings);
  }
}

}  // namespace

void lint_peers(const LintInput& in, Findings& findings) {
  std::vector<Level> all = levels(in);
  add_peers(in, all);
  for (const Level& level : all) lint_level(in, level, findings);
  const Siblings groups = siblings(in);
  for (const auto& [key, group] : groups)
    if (group.size() > 1) lint_scales(in, group, findings);
  lint_nibbles(in, groups, findings);
}

}  // namespace nvfp4
