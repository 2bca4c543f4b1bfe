#include "scale_history.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "../number_text.hpp"
#include "scale_tensors.hpp"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
    return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
  });
}

/// Nothing of what is no text.
std::vector<float> values(const Json& list) {
  std::vector<float> all;
  for (const Json& text : list)
    if (text.is_string())
      all.push_back(std::bit_cast<float>(
          static_cast<std::uint32_t>(std::strtoul(text.get_ref<const std::string&>().c_str(), nullptr, 16))));
  return all;
}

constexpr const char *turned_key = "turned", *single_level_key = "single_level";

}  // namespace

ScaleHistory::ScaleHistory(const Json& before) {
  if (!before.is_object()) return;
  const Json turned = before.value(turned_key, Json::object());
  for (const auto& [weight, scales] : turned.items())
    if (scales.is_object())
      for (const auto& [which, list] : scales.items()) before_[{weight, which}] = values(list);
  for (const Json& weight : before.value(single_level_key, Json::array()))
    if (weight.is_string()) single_level_before_.insert(weight.get<std::string>());
}

bool ScaleHistory::was_single_level(const Checkpoint& checkpoint, const Weight& w) const {
  if (!w.second || !single_level_before_.contains(w.name)) return false;
  const std::string& tensor = w.tensors.end()[w.input ? -2 : -1];
  const SecondScale scale = read_scales(checkpoint, tensor, *w.second);
  return std::all_of(scale.values.begin(), scale.values.end(), [](float x) { return x == 1; });
}

SecondScale ScaleHistory::turned(const std::string& weight, const std::string& which,
                                 const SecondScale& scale, ScaleUse use) const {
  if (scale.use == use) return scale;
  const auto original = before_.find({weight, which});
  if (original != before_.end()) {
    const SecondScale there{use, original->second};
    if (same_bits(inverted(there).values, scale.values)) return there;
  }
  return inverted(scale);
}

void ScaleHistory::keep(const Checkpoint& checkpoint, const Weight& w, ScaleUse use) {
  if (!w.second || was_single_level(checkpoint, w)) single_level_.insert(w.name);
  // Weight::tensors has them last, in this order.
  auto tensor = w.tensors.end() - w.second.has_value() - w.input.has_value();
  for (const auto& [which, direction] : {std::pair{"second", w.second}, {"input", w.input}}) {
    if (!direction) continue;
    const SecondScale scale = read_scales(checkpoint, *tensor++, *direction);
    const auto before = before_.find({w.name, which});
    if (*direction == use) {
      if (before != before_.end()) kept_.insert(*before);
    } else if (!same_bits(inverted(turned(w.name, which, scale, use)).values, scale.values)) {
      kept_[{w.name, which}] = scale.values;
    }
  }
}

Json ScaleHistory::json() const {
  Json turned, all;
  for (const auto& [key, list] : kept_)
    for (const float value : list)
      turned[key.first][key.second].push_back(hex32(std::bit_cast<std::uint32_t>(value)));
  if (!turned.is_null()) all[turned_key] = std::move(turned);
  if (!single_level_.empty()) all[single_level_key] = single_level_;
  return all;
}

}  // namespace nvfp4
