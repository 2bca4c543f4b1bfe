#include "walk.hpp"

#include <algorithm>
#include <set>
#include <stdexcept>

namespace nvfp4 {

OwnWeights source_weights(const Checkpoint& source) {
  if (OwnWeights own = own_weights(source); own.convention) return own;
  throw std::invalid_argument(source.path() + ": no block-scaled weights of a convention that is known here");
}

void walk(const Checkpoint& source, const std::vector<Weight>& weights,
          const std::function<void(const Weight&)>& on_weight,
          const std::function<void(const Tensor&)>& on_other) {
  std::map<std::string_view, const Weight*> owners;
  for (const Weight& w : weights)
    for (const std::string& tensor : w.tensors) owners[tensor] = &w;
  std::set<const Weight*> seen;
  for (const Tensor& t : source.tensors()) {
    const auto owner = owners.find(t.info.name);
    if (owner == owners.end())
      on_other(t);
    else if (seen.insert(owner->second).second)
      on_weight(*owner->second);
  }
}

bool ends_in_any(std::string_view name, std::span<const std::string_view> ends) {
  return std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return name.ends_with(end); });
}

std::string listed(const std::vector<std::string>& names) {
  constexpr std::size_t most = 5;
  std::string text;
  for (std::size_t i = 0; i < std::min(most, names.size()); ++i) text += (i ? ", '" : "'") + names[i] + "'";
  return names.size() > most ? text + " and " + std::to_string(names.size() - most) + " more" : text;
}

std::uint64_t input_bytes(const Checkpoint& source, const Weight& w) {
  std::uint64_t bytes = 0;
  for (const std::string& tensor : w.tensors) bytes += byte_size(source.at(tensor).info);
  return bytes;
}

}  // namespace nvfp4
