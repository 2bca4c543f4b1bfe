#include "modelopt_documents.hpp"

#include <set>

#include <nlohmann/json.hpp>
#include <nvfp4/version.hpp>

#include "document.hpp"
#include "quantization_config.hpp"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

constexpr int indent = 4;  // of both documents, as ModelOpt writes them

std::string text_of(const Json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

/// What has "quant_algo" and "quantized_layers".
Json details(const Documents& documents) {
  const auto found = documents.find("hf_quant_config");
  if (found == documents.end()) return quantization_config(documents);
  const Json json = parsed_document(found->second);
  return json.is_object() && json.contains("quantization") ? json["quantization"] : Json();
}

const char* algorithm(const Weight& w) { return w.input ? "NVFP4" : "W4A16_NVFP4"; }

std::set<std::string> algorithms(const Description& d) {
  std::set<std::string> all;
  for (const Weight& w : d.weights) all.insert(algorithm(w));
  return all;
}

/// Module by module, where not all have an input scale.
Json quantized_layers(const Description& d) {
  Json layers = Json::object();
  for (const Weight& w : d.weights)
    layers[module_of(w.name)] = {{"quant_algo", algorithm(w)}, {"group_size", 16}};
  return layers;
}

/// "quantization", its keys in get_quant_config's order.
Json quantization(const Description& d) {
  if (algorithms(d).size() > 1)
    return {{"quant_algo", "MIXED_PRECISION"},
            {"kv_cache_quant_algo", nullptr},
            {"quantized_layers", quantized_layers(d)}};
  return {{"quant_algo", algorithm(d.weights.front())},
          {"kv_cache_quant_algo", nullptr},
          {"group_size", 16},
          {"exclude_modules", d.kept}};
}

Json group(const std::string& algorithm, const Json& targets) {
  Json group = Json::object();
  const Json fp4{{"dynamic", false}, {"num_bits", 4}, {"type", "float"}, {"group_size", 16}};
  if (algorithm == "NVFP4") group["input_activations"] = fp4;
  group["weights"] = fp4;
  group["targets"] = targets;
  return group;
}

Json targets(const Description& d, const std::string& of_algorithm) {
  std::set<std::string> modules;
  for (const Weight& w : d.weights)
    if (algorithm(w) == of_algorithm) modules.insert(module_of(w.name));
  return modules;
}

Json groups(const Description& d) {
  const std::set<std::string> all = algorithms(d);
  Json groups = Json::object();
  for (const std::string& a : all)
    groups["group_" + std::to_string(groups.size())] =
        group(a, all.size() == 1 ? Json{"Linear"} : targets(d, a));
  return groups;
}

/// convert_hf_quant_config_format's. Loaders know it by the method or by the producer's name.
Json config(const Description& d, const Json& quantization) {
  Json json{{"config_groups", groups(d)}};
  if (quantization.contains("quantized_layers")) json["quantized_layers"] = quantization["quantized_layers"];
  json["ignore"] = quantization.value("exclude_modules", Json::array());
  json["quant_algo"] = quantization["quant_algo"];
  json["producer"] = {{"name", "modelopt"}, {"version", dialects::modelopt::info.version}};
  json["quant_method"] = "modelopt";
  return json;
}

}  // namespace

ModeloptAlgorithms::ModeloptAlgorithms(const Documents& documents) {
  const Json json = details(documents);
  all_ = text_of(json, "quant_algo");
  if (all_ != "MIXED_PRECISION" || !json.contains("quantized_layers")) return;
  for (const auto& [module, layer] : json["quantized_layers"].items())
    layers_[module] = text_of(layer, "quant_algo");
}

const std::string& ModeloptAlgorithms::of(const std::string& module) const {
  const auto layer = layers_.find(module);
  return layer == layers_.end() ? all_ : layer->second;
}

bool modelopt_declared(const Documents& documents) {
  const std::string method = quant_method(documents);
  return documents.contains("hf_quant_config") || method == "modelopt" || method == "quark";
}

void modelopt_undeclare(Documents& documents, io::Metadata&) {
  documents.erase("hf_quant_config");
  documents.erase("_quantization_metadata");
  remove_quantization_config(documents, "modelopt");
  remove_quantization_config(documents, "quark");
}

void modelopt_declare(const Description& d, Documents& documents, io::Metadata&) {
  const Json details = quantization(d);
  documents["hf_quant_config"] =
      Json{{"producer", {{"name", "nvfp4"}, {"version", NVFP4_VERSION}}}, {"quantization", details}}.dump(
          indent);
  if (documents.contains("config")) set_quantization_config(documents, config(d, details), indent);
}

}  // namespace nvfp4
