#include "quantization_config.hpp"

#include <stdexcept>

#include "document.hpp"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* key = "quantization_config";

Json object_of(const Documents& documents, const std::string& name) {
  const auto found = documents.find(name);
  if (found == documents.end()) return Json::object();
  Json json = parsed_document(found->second);
  return json.is_object() ? json : Json::object();
}

std::string method_of(const Json& config) {
  const auto found = config.find("quant_method");
  return found != config.end() && found->is_string() ? found->get<std::string>() : "";
}

/// As Python writes it: ASCII.
std::string text_of(const Json& json, int indent) { return json.dump(indent, ' ', true) + "\n"; }

}  // namespace

Json quantization_config(const Documents& documents) {
  const Json config = object_of(documents, "config");
  if (config.contains(key) && config[key].is_object()) return config[key];
  return object_of(documents, key);
}

std::string quant_method(const Documents& documents) { return method_of(quantization_config(documents)); }

void set_quantization_config(Documents& documents, Json config, int indent) {
  const auto found = documents.find("config");
  if (found == documents.end()) {
    documents[key] = text_of(config, indent);
    return;
  }
  Json all = parsed_document(found->second);
  if (!all.is_object())
    throw std::invalid_argument("config.json: expected a JSON object, to put quantization_config into");
  all[key] = std::move(config);
  found->second = text_of(all, indent);
}

void remove_quantization_config(Documents& documents, std::string_view method) {
  if (method_of(object_of(documents, key)) == method) documents.erase(key);
  Json all = object_of(documents, "config");
  if (!all.contains(key) || method_of(all[key]) != method) return;
  all.erase(key);
  documents["config"] = text_of(all, 2);
}

}  // namespace nvfp4
