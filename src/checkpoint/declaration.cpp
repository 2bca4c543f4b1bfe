#include "declaration.hpp"

#include <algorithm>
#include <regex>

#include <nlohmann/json.hpp>
#include <nvfp4/glob.hpp>

#include "document.hpp"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

std::string text_at(const Json& json, const char* key) {
  return json.is_object() && json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "";
}

const Json& at(const Json& json, const char* key) {
  static const Json none;
  return json.is_object() && json.contains(key) ? json[key] : none;
}

std::optional<std::int64_t> number_at(const Json& json, const char* key) {
  const Json& value = at(json, key);
  return value.is_number_integer() ? std::optional(value.get<std::int64_t>()) : std::nullopt;
}

std::vector<std::string> texts(const Json& json) {
  std::vector<std::string> all;
  if (json.is_array())
    for (const Json& entry : json)
      if (entry.is_string()) all.push_back(entry.get<std::string>());
  return all;
}

bool is_nvfp4(const std::string& algorithm) {
  return algorithm.find("NVFP4") != std::string::npos || algorithm.find("MXFP4") != std::string::npos;
}

// Entries are globs: ModelOpt's, Quark's and gpt-oss's.

std::string glob_of(const std::vector<std::string>& globs, const std::string& module) {
  for (const std::string& glob : globs)
    if (matches_glob(module, glob)) return glob;
  return "";
}

/// Some loaders take an entry for a prefix, and put one before the tensors' names or take one off; so what lies under
/// such an entry is in doubt.
bool may_be_excluded(const std::vector<std::string>& globs, const std::string& module) {
  return std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) {
    for (const std::string& entry : {glob, glob + ".*", "*." + glob, "*." + glob + ".*"})
      if (matches_glob(module, entry)) return true;
    return false;
  });
}

void exclude_by_globs(Declaration& d, std::vector<std::string> globs) {
  d.excluded_by = [globs](const std::string& module) { return glob_of(globs, module); };
  d.expected = [globs, whole = d.block_scaled](const std::string& module) {
    if (may_be_excluded(globs, module)) return Expected::high_precision;
    return whole ? Expected::block_scaled : Expected::unknown;
  };
}

/// Which of the modules that a MIXED_PRECISION document lists has which algorithm.
void expect_listed(Declaration& d, const Json& layers) {
  std::map<std::string, std::string> listed;
  for (const auto& [module, layer] : layers.items()) {
    const std::string algorithm = text_at(layer, "quant_algo");
    listed[module] = algorithm;
    if (!is_nvfp4(algorithm)) continue;
    d.block_scaled = true;
    if (!d.group_size) d.group_size = number_at(layer, "group_size");
  }
  d.excluded_by = [](const std::string&) { return std::string(); };
  d.expected = [listed](const std::string& module) {
    const auto layer = listed.find(module);
    if (layer == listed.end()) return Expected::unknown;
    return is_nvfp4(layer->second) ? Expected::block_scaled : Expected::otherwise_quantized;
  };
}

/// The inner object of hf_quant_config.json, or a quantization_config of quant_method modelopt.
Declaration of_modelopt(const std::string& document, const Json& json, const char* excluded) {
  Declaration d{.document = document, .method = "modelopt", .algorithm = text_at(json, "quant_algo")};
  d.block_scaled = is_nvfp4(d.algorithm);
  d.group_size = number_at(json, "group_size");
  if (!d.group_size)
    for (const Json& group : at(json, "config_groups"))
      if (!d.group_size) d.group_size = number_at(at(group, "weights"), "group_size");
  d.input_scales = d.block_scaled && !d.algorithm.starts_with("W4A");  // not of W4A16; W4A8's are FP8's
  d.kv_cache = text_at(json, "kv_cache_quant_algo");
  const Json& scheme = at(json, "kv_cache_scheme");
  if (scheme.is_object() && at(scheme, "dynamic") != Json(true)) d.kv_cache = "FP8";
  if (scheme.is_string()) d.kv_cache = scheme.get<std::string>();
  if (at(json, "quantized_layers").is_object())
    expect_listed(d, json["quantized_layers"]);
  else
    exclude_by_globs(d, texts(at(json, excluded)));
  return d;
}

// compressed-tensors: an entry is a module's name, a class, or "re:" and a Python pattern that the name begins with.

constexpr std::size_t longest_pattern = 1000, longest_name = 1000;  // beyond what any checkpoint has

#ifdef __GLIBCXX__  // whose other matcher takes exponential time, and a stack as deep as the name is long
constexpr auto pattern_syntax = std::regex_constants::ECMAScript | std::regex_constants::__polynomial;
#else
constexpr auto pattern_syntax = std::regex_constants::ECMAScript;
#endif

/// None where it is not understood here.
std::optional<std::regex> pattern_of(const std::string& text) {
  if (text.size() > longest_pattern) return std::nullopt;
  try {
    return std::regex(text, pattern_syntax);
  } catch (const std::regex_error&) {
    return std::nullopt;
  }
}

class Entry {
 public:
  explicit Entry(std::string text) : text_(std::move(text)), is_pattern_(text_.starts_with("re:")) {
    if (is_pattern_) pattern_ = pattern_of(text_.substr(3));
  }

  const std::string& text() const { return text_; }
  std::optional<bool> matches(const std::string& module) const {
    return is_pattern_ ? found(module, std::regex_constants::match_continuous) : module == text_;
  }
  /// As matches(), with what may_be_excluded() doubts.
  bool may_match(const std::string& module) const {
    if (is_pattern_) return found(module, std::regex_constants::match_default).value_or(true);
    return may_be_excluded({text_}, module);
  }

 private:
  std::optional<bool> found(const std::string& module, std::regex_constants::match_flag_type where) const {
    if (!pattern_ || module.size() > longest_name) return std::nullopt;
    try {
      return std::regex_search(module, *pattern_, where);
    } catch (const std::regex_error&) {
      return std::nullopt;
    }
  }

  std::string text_;
  bool is_pattern_;
  std::optional<std::regex> pattern_;
};

std::vector<Entry> entries(const Json& json) {
  std::vector<Entry> all;
  for (std::string& text : texts(json)) all.emplace_back(std::move(text));
  return all;
}

struct Group {
  std::vector<Entry> targets;
  bool block_scaled = false;
};

bool is_block_scaled(const Json& weights) {
  return number_at(weights, "num_bits") == 4 && text_at(weights, "type") == "float";
}

/// The first group that has the module by name or pattern, else the one of every Linear.
Expected expected_of(const std::vector<Group>& groups, const std::string& module) {
  const Group* linear = nullptr;
  for (const Group& group : groups)
    for (const Entry& target : group.targets) {
      const auto match = target.matches(module);
      if (!match) return Expected::unknown;
      if (*match) return group.block_scaled ? Expected::block_scaled : Expected::otherwise_quantized;
      if (target.text() == "Linear" && !linear) linear = &group;
    }
  if (!linear) return Expected::unknown;
  return linear->block_scaled ? Expected::block_scaled : Expected::otherwise_quantized;
}

Declaration of_compressed_tensors(const std::string& document, const Json& json) {
  Declaration d{.document = document, .method = "compressed-tensors", .algorithm = text_at(json, "format")};
  std::vector<Group> groups;
  for (const Json& group : at(json, "config_groups")) {
    const Json &weights = at(group, "weights"), &inputs = at(group, "input_activations");
    groups.push_back({entries(at(group, "targets")), is_block_scaled(weights)});
    if (!groups.back().block_scaled) continue;
    d.block_scaled = true;
    if (!d.group_size) d.group_size = number_at(weights, "group_size");
    d.input_scales |= is_block_scaled(inputs) && number_at(inputs, "group_size") == 16 &&
                      at(inputs, "dynamic") != Json(true);
  }
  const Json& cache = at(json, "kv_cache_scheme");
  if (cache.is_object() && at(cache, "dynamic") == Json(false)) d.kv_cache = "FP8";
  const std::vector<Entry> ignored = entries(at(json, "ignore"));
  d.excluded_by = [ignored](const std::string& module) {
    for (const Entry& entry : ignored)
      if (entry.matches(module).value_or(false)) return entry.text();
    return std::string();
  };
  d.expected = [ignored, groups](const std::string& module) {
    for (const Entry& entry : ignored)
      if (entry.may_match(module)) return Expected::high_precision;
    return expected_of(groups, module);
  };
  return d;
}

// auto-round quantizes blocks; its exceptions stand in extra_config.

Declaration of_auto_round(const std::string& document, const Json& json) {
  Declaration d{.document = document, .method = "auto-round", .algorithm = text_at(json, "data_type")};
  d.block_scaled =
      d.algorithm.starts_with("nv_fp") || (d.algorithm == "mx_fp" && number_at(json, "bits") == 4);
  d.group_size = number_at(json, "group_size");
  d.input_scales = text_at(json, "act_data_type") == "nv_fp4_with_static_gs";
  std::vector<std::string> kept;
  for (const auto& [layer, config] : at(json, "extra_config").items())
    if (number_at(config, "bits").value_or(0) >= 16) kept.push_back(layer);
  d.excluded_by = [kept](const std::string& module) {
    return std::find(kept.begin(), kept.end(), module) == kept.end() ? std::string() : module;
  };
  d.expected = [](const std::string&) { return Expected::unknown; };
  return d;
}

Declaration of_gpt_oss(const std::string& document, const Json& json) {
  Declaration d{.document = document, .method = "mxfp4", .algorithm = "mxfp4", .block_scaled = true};
  exclude_by_globs(d, texts(at(json, "modules_to_not_convert")));
  d.expected = [](const std::string&) { return Expected::unknown; };  // experts only
  return d;
}

Declaration of_quark(const std::string& document, const Json& json) {
  Declaration d{.document = document, .method = "quark", .algorithm = "quark"};
  exclude_by_globs(d, texts(at(json, "exclude")));
  return d;
}

std::optional<Declaration> of_config(const std::string& document, const Json& json) {
  const std::string method = text_at(json, "quant_method");
  if (method == "modelopt") return of_modelopt(document, json, "ignore");
  if (method == "compressed-tensors") return of_compressed_tensors(document, json);
  if (method == "auto-round") return of_auto_round(document, json);
  if (method == "mxfp4") return of_gpt_oss(document, json);
  if (method == "quark") return of_quark(document, json);
  return std::nullopt;
}

Json parsed(const Documents& documents, const char* name) {
  const auto text = documents.find(name);
  return text == documents.end() ? Json() : parsed_document(text->second);
}

}  // namespace

std::vector<Declaration> declarations(const Checkpoint& c) {
  std::vector<Declaration> all;
  const std::string ending = c.is_folder() ? ".json" : "";
  const Json own = parsed(c.documents(), "hf_quant_config");
  if (at(own, "quantization").is_object())
    all.push_back(of_modelopt("hf_quant_config" + ending, own["quantization"], "exclude_modules"));
  for (const char* name : {"config", "quantization_config"}) {
    const Json json = parsed(c.documents(), name);
    const Json& inner = at(json, "quantization_config");
    if (const auto d = of_config(name + ending, inner.is_object() ? inner : json)) all.push_back(*d);
  }
  return all;
}

}  // namespace nvfp4
