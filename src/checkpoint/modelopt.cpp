#include <set>

#include <nlohmann/json.hpp>
#include <nvfp4/version.hpp>

#include "convention.hpp"

/// ModelOpt's NVFP4: P.weight U8 (N, K/2); P.weight_scale F8_E4M3 (N, K/16), linear; P.weight_scale_2 F32 scalar,
/// w = element * weight_scale * weight_scale_2; P.input_scale F32 scalar, amax / 2688.
namespace nvfp4 {
namespace {

using io::ArrayInfo;
using io::ElementType;
using Json = nlohmann::ordered_json;

bool has(const Checkpoint& c, const std::string& name, ElementType type, const Shape& shape) {
  const Tensor* tensor = c.find(name);
  return tensor && tensor->info.type == type && tensor->shape == shape;
}

/// A scalar, or one number in an array.
bool has_number(const Checkpoint& c, const std::string& name) {
  return has(c, name, ElementType::f32, {}) || has(c, name, ElementType::f32, {1});
}

std::string input_name(const std::string& weight) { return module_of(weight) + ".input_scale"; }

std::vector<Weight> find(const Checkpoint& c) {
  std::vector<Weight> weights;
  for (const Tensor& t : c.tensors()) {
    const std::string& name = t.info.name;
    if (t.info.type != ElementType::u8 || t.shape.size() != 2 || t.shape[1] % 8) continue;
    const Shape scales{t.shape[0], t.shape[1] / 8};
    if (!has(c, name + "_scale", ElementType::f8_e4m3, scales) || !has_number(c, name + "_scale_2")) continue;
    Weight w{.name = name, .shape = {t.shape[0], 2 * t.shape[1]}, .second = ScaleUse::multiplies};
    w.tensors = {name, name + "_scale", name + "_scale_2"};
    if (has_number(c, input_name(name)))
      w.input = ScaleUse::multiplies, w.tensors.push_back(input_name(name));
    weights.push_back(std::move(w));
  }
  return weights;
}

SecondScale number(const Checkpoint& c, const std::string& name) {
  const io::Array array = c.read(name);
  return {ScaleUse::multiplies, {array.f32(array.info.shape)[0]}};
}

StoredWeight load(const Checkpoint& c, const Weight& w) {
  StoredWeight stored{.weight = w, .codes = c.read(w.name).bytes, .scales = c.read(w.name + "_scale").bytes};
  stored.second = number(c, w.name + "_scale_2");
  if (w.input) stored.input = number(c, input_name(w.name));
  return stored;
}

std::string obstacle(const Weight& w) {
  if (w.scale != Format::ue4m3) return "modelopt has no place for MXFP4 blocks";
  if (w.shape.size() != 2) return "modelopt has a weight for each expert, none for a stack";
  if (w.cols() % 16) return "K is no multiple of 16";
  return w.second ? "" : "modelopt needs a second-level scale";
}

std::vector<OutputTensor> parts(const Weight& w) {
  const std::int64_t n = w.rows(), k = w.cols();
  std::vector<OutputTensor> tensors{{{w.name + "_scale_2", ElementType::f32, {}}}};
  if (w.input) tensors.push_back({{input_name(w.name), ElementType::f32, {}}});
  tensors.push_back({{w.name, ElementType::u8, {n, k / 2}}});
  tensors.push_back({{w.name + "_scale", ElementType::f8_e4m3, {n, k / 16}}});
  return tensors;
}

std::vector<io::Bytes> store(const StoredWeight& w) {
  std::vector<io::Bytes> bytes{owned(as(ScaleUse::multiplies, *w.second).values)};
  if (w.input) bytes.push_back(owned(as(ScaleUse::multiplies, *w.input).values));
  bytes.push_back(w.codes);
  bytes.push_back(w.scales);
  return bytes;
}

bool is_ours(const std::string& config) {
  const Json json = Json::parse(config, nullptr, false);
  return json.is_object() && json.contains("quantization_config") &&
         json["quantization_config"].is_object() &&
         json["quantization_config"].value("quant_method", Json()) == "modelopt";
}

bool declared(const Checkpoint& c) {
  const auto config = c.documents().find("config");
  return c.documents().contains("hf_quant_config") ||
         (config != c.documents().end() && is_ours(config->second));
}

void undeclare(Documents& documents, io::Metadata&) {
  documents.erase("hf_quant_config");
  const auto config = documents.find("config");
  if (config == documents.end() || !is_ours(config->second)) return;
  Json json = Json::parse(config->second);
  json.erase("quantization_config");
  config->second = json.dump(2) + "\n";
}

void declare(const Description& d, Documents& documents, io::Metadata&) {
  bool activations = false;
  for (const Weight& w : d.weights) activations |= w.input.has_value();
  documents["hf_quant_config"] = Json{
      {"producer", {{"name", "nvfp4"}, {"version", NVFP4_VERSION}}},
      {"quantization",
       {{"quant_algo", activations ? "NVFP4" : "W4A16_NVFP4"},
        {"kv_cache_quant_algo", nullptr},
        {"group_size", 16},
        {"exclude_modules",
         d.kept}}}}.dump();
}

}  // namespace

const Convention modelopt_convention{.name = "modelopt",
                                     .file = "safetensors",
                                     .producer = &dialects::modelopt::info,
                                     .use = ScaleUse::multiplies,
                                     .declared = declared,
                                     .find = find,
                                     .load = load,
                                     .obstacle = obstacle,
                                     .parts = parts,
                                     .store = store,
                                     .undeclare = undeclare,
                                     .declare = declare};

}  // namespace nvfp4
