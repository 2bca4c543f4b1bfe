#include "parts.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace nvfp4 {
namespace {

using io::ElementType;

/// How a family ends the names of a weight's parts; `weight` ends the weight's own.
struct Family {
  std::string_view name, weight;
  std::array<std::string_view, 4> endings;  ///< by Part
};

/// ModelOpt and compressed-tensors call the block scales alike; what else is there decides.
constexpr std::array families{
    Family{"modelopt", ".weight", {".weight", ".weight_scale", ".weight_scale_2", ".input_scale"}},
    Family{"compressed-tensors",
           ".weight",
           {".weight_packed", ".weight_scale", ".weight_global_scale", ".input_global_scale"}},
    Family{"modelopt",
           "",
           {"", "_weight_scale", "_weight_scale_2", "_input_scale"}},  // a parameter W of its own name
    Family{"mxfp4", "", {"_blocks", "_scales", "", ""}},
};
constexpr Family gguf{"gguf", ".weight", {".weight", "", ".scale", ".input_scale"}};

/// torchao writes MODULE._PARAM_qdata beside its scales.
constexpr Family torchao{"torchao", "", {"_qdata", "_scale", "_per_tensor_scale", "_act_per_tensor_scale"}};

struct Named {
  const Family* family;
  Part part;
  std::string weight;
};

/// Bytes that may be codes. A tensor that is called P.weight is a weight of some other kind far more often.
bool may_be_codes(const Tensor& t) {
  const ElementType type = t.info.type;
  return t.block_type.empty() ? t.shape.size() >= 2 && (type == ElementType::u8 || type == ElementType::i8)
                              : t.block_type == "NVFP4" || t.block_type == "MXFP4";
}

std::optional<Named> torchao_part(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string::npos || dot + 1 >= name.size() || name[dot + 1] != '_') return std::nullopt;
  for (const Part part : {Part::input, Part::second, Part::block_scales, Part::codes}) {
    const std::string_view ending = torchao.endings[static_cast<std::size_t>(part)];
    const std::string leaf = name.substr(dot + 2);
    if (leaf.size() > ending.size() && leaf.ends_with(ending))
      return Named{&torchao, part, name.substr(0, dot + 1) + leaf.substr(0, leaf.size() - ending.size())};
  }
  return std::nullopt;
}

std::vector<Named> parts_by_name(const Tensor& t, bool is_gguf) {
  const std::string& name = t.info.name;
  std::vector<Named> all;
  const auto add = [&](const Family& family) {
    for (std::size_t i = 0; i < family.endings.size(); ++i) {
      const std::string_view ending = family.endings[i];
      if (ending.empty() || !name.ends_with(ending) || name.size() == ending.size()) continue;
      if (static_cast<Part>(i) == Part::codes && !may_be_codes(t)) continue;
      all.push_back({&family, static_cast<Part>(i),
                     name.substr(0, name.size() - ending.size()) + std::string(family.weight)});
    }
  };
  if (is_gguf) {
    add(gguf);
    return all;
  }
  if (const auto part = torchao_part(name)) return {*part};
  for (const Family& family : families) add(family);
  return all;
}

std::string name_in(const Family& family, const std::string& weight, Part part) {
  const std::string_view ending = family.endings[static_cast<std::size_t>(part)];
  if (ending.empty() && part != Part::codes) return "";
  if (family.name == "torchao") {
    const std::size_t dot = weight.rfind('.') + 1;
    return weight.substr(0, dot) + "_" + weight.substr(dot) + std::string(ending);
  }
  return weight.substr(0, weight.size() - family.weight.size()) + std::string(ending);
}

/// Parts that only this family names so.
bool is_telling(const Family& family, Part part) {
  return (family.name != "modelopt" && family.name != "compressed-tensors") || part != Part::block_scales;
}

bool looks_block_scaled(const LooseParts& parts, const Checkpoint& c) {
  if (parts.whole) return true;
  if (parts.family == "gguf") return !c.find(parts.weight);  // a scale of nothing; what is there decodes
  const Tensor *scales = parts.at(Part::block_scales), *plain = c.find(parts.weight);
  if (parts.at(Part::codes) || parts.at(Part::second)) return true;
  if (scales && parts.family == "mxfp4")
    return scales->shape.size() >= 3 && scales->info.type == ElementType::u8;
  if (scales) return scales->shape.size() >= 2 && scales->info.type == ElementType::f8_e4m3;
  return !plain;  // an input's scale: FP8 weights have one, too
}

}  // namespace

std::vector<LooseParts> loose_parts(const Checkpoint& c, const std::vector<HeldWeight>& whole) {
  std::set<std::string_view> taken, names;
  for (const HeldWeight& held : whole) {
    taken.insert(held.weight.tensors.begin(), held.weight.tensors.end());
    names.insert(held.weight.name);
  }
  const bool is_gguf = !c.files().empty() && c.files().front().arrays->container() == "gguf";

  std::map<std::string, std::map<const Family*, std::array<const Tensor*, 4>>> by_weight;
  std::map<const Family*, std::size_t> telling;
  std::vector<std::string> order;
  for (const Tensor& t : c.tensors())
    for (const Named& named : parts_by_name(t, is_gguf)) {
      if (is_telling(*named.family, named.part)) ++telling[named.family];
      if (taken.contains(t.info.name)) continue;
      if (!by_weight.contains(named.weight)) order.push_back(named.weight);
      by_weight[named.weight][named.family][static_cast<std::size_t>(named.part)] = &t;
    }

  std::vector<LooseParts> all;
  for (const std::string& weight : order) {
    const Family* best = nullptr;
    const auto rank = [&](const Family* f) {
      const auto& parts = by_weight[weight][f];
      std::size_t certain = 0;
      for (std::size_t i = 0; i < parts.size(); ++i)
        certain += parts[i] && is_telling(*f, static_cast<Part>(i));
      return std::pair(certain, telling[f]);
    };
    for (const auto& [family, parts] : by_weight[weight])
      if (!best || rank(family) > rank(best)) best = family;
    std::array<const Tensor*, 4>& own = by_weight[weight][best];
    if (const Tensor* t = c.find(weight);
        best->endings[0].empty() && t && may_be_codes(*t) && !taken.contains(weight))
      own[0] = t;
    LooseParts parts{.weight = weight, .family = best->name, .whole = names.contains(weight), .of = own};
    for (std::size_t i = 0; i < parts.names.size(); ++i)
      parts.names[i] = name_in(*best, weight, static_cast<Part>(i));
    if (looks_block_scaled(parts, c)) all.push_back(std::move(parts));
  }
  return all;
}

}  // namespace nvfp4
