#include "inversions.hpp"

#include <bit>
#include <cstdio>
#include <cstdlib>

#include "scale_tensors.hpp"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
    return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
  });
}

std::string bits(float value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08X", std::bit_cast<std::uint32_t>(value));
  return text;
}

/// Nothing of a text that bits() did not write.
std::vector<float> values(const Json& list) {
  std::vector<float> all;
  for (const Json& text : list)
    if (text.is_string())
      all.push_back(std::bit_cast<float>(
          static_cast<std::uint32_t>(std::strtoul(text.get_ref<const std::string&>().c_str(), nullptr, 16))));
  return all;
}

}  // namespace

Inversions::Inversions(const Json& before) {
  if (!before.is_object()) return;
  for (const auto& [weight, scales] : before.items())
    if (scales.is_object())
      for (const auto& [which, list] : scales.items()) before_[{weight, which}] = values(list);
}

SecondScale Inversions::turned(const std::string& weight, const std::string& which, const SecondScale& scale,
                               ScaleUse use) const {
  if (scale.use == use) return scale;
  const auto original = before_.find({weight, which});
  if (original != before_.end()) {
    const SecondScale there{use, original->second};
    if (same_bits(inverted(there).values, scale.values)) return there;
  }
  return inverted(scale);
}

void Inversions::keep(const Checkpoint& checkpoint, const Weight& w, ScaleUse use) {
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

Json Inversions::json() const {
  Json all;
  for (const auto& [key, list] : kept_)
    for (const float value : list) all[key.first][key.second].push_back(bits(value));
  return all;
}

}  // namespace nvfp4
