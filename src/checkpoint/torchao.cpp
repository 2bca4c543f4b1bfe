#include <algorithm>
#include <stdexcept>

#include <nlohmann/json.hpp>
#include <nvfp4/layout.hpp>

#include "convention.hpp"
#include "decode.hpp"
#include "document.hpp"
#include "quantization_config.hpp"
#include "scale_tensors.hpp"

/// torchao's NVFP4Tensor by its safetensors_support: of MODULE.PARAM, MODULE._PARAM_qdata U8 (N, K/2);
/// MODULE._PARAM_scale F8_E4M3 (N, K/16), linear, or the bytes of tiles 128x4 as (32 ceil(N/128), 16 ceil(K/64));
/// MODULE._PARAM_per_tensor_scale and _act_per_tensor_scale F32 scalar, amax / 2688, which multiply. A stack of experts
/// is (E, N, K) of the same, its scales (E, 1, 1). The header's metadata has an entry for every tensor. Transformers
/// merges the headers of shards, the last of which wins, so each has the entries of all.
namespace nvfp4 {
namespace {

using io::ElementType;
using Json = nlohmann::ordered_json;

constexpr std::string_view method = "torchao";
constexpr std::string_view factors[] = {"_qdata", "_weight_scale", "_per_tensor_scale", "_zero_point"};

/// "MODULE._PARAM_" of MODULE.PARAM; empty where the name has no dot.
std::string stem(const std::string& weight) {
  const std::size_t dot = weight.rfind('.');
  return dot == std::string::npos ? "" : weight.substr(0, dot) + "._" + weight.substr(dot + 1) + "_";
}

/// An entry of the metadata; null where it is no entry of a tensor.
Json entry_of(const std::string& text) {
  Json json = parsed_document(text);
  return json.is_object() && json.contains("_type") && json["_type"].is_string() ? json : Json();
}

Json data_of(const Json& entry) { return entry.contains("_data") ? entry["_data"] : Json(); }

bool is_swizzled(const Json& data) {
  return data.is_object() && data.contains("is_swizzled_scales") && data["is_swizzled_scales"] == true;
}

Dtype dtype_of(const Json& data) {
  const Json* dtype = data.contains("orig_dtype") ? &data["orig_dtype"] : nullptr;
  if (!dtype || !dtype->is_object() || !dtype->contains("_data")) return Dtype::bf16;
  return (*dtype)["_data"] == "float32"   ? Dtype::fp32
         : (*dtype)["_data"] == "float16" ? Dtype::fp16
                                          : Dtype::bf16;
}

const char* dtype_name(Dtype t) {
  return t == Dtype::fp32 ? "float32" : t == Dtype::fp16 ? "float16" : "bfloat16";
}

/// Of tiles: the experts' rows are one matrix, whose bands are each expert's own.
Shape swizzled_shape(const Weight& w) {
  Shape shape = w.shape;
  shape[shape.size() - 2] = (w.rows() / w.experts() + 127) / 128 * 32;
  shape.back() = (w.cols() + 63) / 64 * 16;
  return shape;
}

bool holds_block_scales(const Checkpoint& c, const Weight& w, bool swizzled) {
  if (swizzled && w.experts() > 1 && w.shape[1] % 128) return false;
  return c.holds(stem(w.name) + "scale", ElementType::f8_e4m3,
                 swizzled ? swizzled_shape(w) : with_last(w.shape, w.cols() / 16));
}

std::optional<Weight> weight_of(const Checkpoint& c, const std::string& name, const Json& data) {
  const Tensor* codes = c.find(stem(name) + "qdata");
  if (!codes || codes->info.type != ElementType::u8 || !codes->block_type.empty() ||
      codes->shape.size() < 2 || codes->shape.size() > 3 || elements(codes->shape) == 0 ||
      codes->shape.back() % 8)
    return std::nullopt;
  Weight w{
      .name = name, .shape = with_last(codes->shape, 2 * codes->shape.back()), .original = dtype_of(data)};
  if (!holds_block_scales(c, w, is_swizzled(data))) return std::nullopt;
  w.tensors = {codes->info.name, stem(name) + "scale"};
  for (const auto& [end, use] :
       {std::pair{"per_tensor_scale", &w.second}, std::pair{"act_per_tensor_scale", &w.input}}) {
    if (!holds_scales(c, stem(name) + end, w.experts())) continue;
    *use = ScaleUse::multiplies;
    w.tensors.push_back(stem(name) + end);
  }
  return w;
}

std::vector<Weight> find(const Checkpoint& c) {
  std::vector<Weight> weights;
  for (const auto& [name, text] : c.metadata()) {
    const Json entry = entry_of(text);
    if (entry.is_null() || entry["_type"] != "NVFP4Tensor" || stem(name).empty()) continue;
    if (auto w = weight_of(c, name, data_of(entry))) weights.push_back(std::move(*w));
  }
  return weights;
}

io::Bytes linear(const io::Bytes& swizzled, const Weight& w) {
  return owned(from_layout(ScaleLayout::tiled_128x4, swizzled.u8(), w.rows(), w.cols() / 16));
}

StoredWeight load(const Checkpoint& c, const Weight& w) {
  StoredWeight s{.weight = w, .codes = c.read(stem(w.name) + "qdata").bytes};
  s.scales = c.read(stem(w.name) + "scale").bytes;
  if (is_swizzled(data_of(entry_of(c.metadata().at(w.name))))) s.scales = linear(s.scales, w);
  if (w.second) s.second = read_scales(c, stem(w.name) + "per_tensor_scale", ScaleUse::multiplies);
  if (w.input) s.input = read_scales(c, stem(w.name) + "act_per_tensor_scale", ScaleUse::multiplies);
  return s;
}

/// NVFP4Tensor.dequantize.
Matrix decode(const StoredWeight& w, std::int64_t expert, const Kernels& kernels) {
  const Dialect& dialect = w.second ? dialects::torchao::info : dialects::torchao_single_level::info;
  return decoded_by(dialect, w, expert, kernels);
}

std::string obstacle(const Weight& w) {
  if (w.scale != Format::ue4m3) return "torchao's NVFP4Tensor has no place for MXFP4 blocks";
  if (stem(w.name).empty()) return "torchao's loader reads no name without a dot";
  return w.cols() % 16 ? "K is no multiple of 16" : "";
}

std::vector<OutputTensor> parts(const Weight& w) {
  const Shape scalar = w.shape.size() == 3 ? Shape{w.experts(), 1, 1} : Shape{};
  std::vector<OutputTensor> tensors;
  if (w.second) tensors.push_back({{stem(w.name) + "per_tensor_scale", ElementType::f32, scalar}});
  if (w.input) tensors.push_back({{stem(w.name) + "act_per_tensor_scale", ElementType::f32, scalar}});
  tensors.push_back({{stem(w.name) + "qdata", ElementType::u8, with_last(w.shape, w.cols() / 2)}});
  tensors.push_back({{stem(w.name) + "scale", ElementType::f8_e4m3, with_last(w.shape, w.cols() / 16)}});
  return tensors;
}

std::vector<io::Bytes> store(const StoredWeight& w) {
  std::vector<io::Bytes> bytes;
  for (const auto& scale : {w.second, w.input})
    if (scale) bytes.push_back(scale_bytes(scale, ScaleUse::multiplies, w.weight.experts()));
  bytes.push_back(w.codes);
  bytes.push_back(w.scales);
  return bytes;
}

bool declared(const Checkpoint& c) {
  return c.metadata().contains("tensor_names") || quant_method(c.documents()) == method;
}

void remove_entries(io::Metadata& metadata) {
  metadata.erase("tensor_names");
  std::erase_if(metadata, [](const auto& entry) { return !entry_of(entry.second).is_null(); });
}

void undeclare(Documents& documents, io::Metadata& metadata) {
  remove_entries(metadata);
  remove_quantization_config(documents, method);
}

/// What quantizes activations: of a checkpoint that was torchao's its own, else the static scale's.
std::string act_quant_kwargs(const Weight& w, const io::Metadata& before) {
  const auto entry = before.find(w.name);
  if (entry != before.end()) {
    const Json data = data_of(entry_of(entry->second));
    return data.contains("act_quant_kwargs") ? data["act_quant_kwargs"].dump() : "null";
  }
  if (!w.input) return "null";
  return R"({"_type": "QuantizeTensorToNVFP4Kwargs", "_data": {"block_size": 16, "is_swizzled_scales": true, )"
         R"("use_triton_kernel": false, "use_dynamic_per_tensor_scale": false}})";
}

/// The bytes of flatten_tensor_state_dict: optional attributes and data first.
std::string entry_text(const Weight& w, const io::Metadata& before) {
  return R"({"_type": "NVFP4Tensor", "_data": {"is_swizzled_scales": false, "use_triton_kernel": false, )"
         R"("act_quant_kwargs": )" +
         act_quant_kwargs(w, before) +
         R"(, "block_size": 16, "orig_dtype": {"_type": "torch.dtype", "_data": ")" + dtype_name(w.original) +
         R"("}}, "_tensor_data_names": [)" + (w.second ? R"("per_tensor_scale", )" : "") +
         (w.input ? R"("act_per_tensor_scale", )" : "") + R"("qdata", "scale"]})";
}

std::string list(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + Json(name).dump(-1, ' ', true);
  return "[" + text + "]";
}

/// config_to_dict of the config that makes such weights.
Json quant_type(const Description& d) {
  const bool activations =
      std::any_of(d.weights.begin(), d.weights.end(), [](const Weight& w) { return w.input.has_value(); });
  Json json{{"_type", "NVFP4WeightOnlyConfig"},
            {"_version", 1},
            {"_data", {{"use_dynamic_per_tensor_scale", true}}}};
  if (!activations) return json;
  json["_type"] = "NVFP4DynamicActivationNVFP4WeightConfig";
  json["_data"] = {{"use_triton_kernel", false}, {"use_dynamic_per_tensor_scale", false}, {"step", nullptr}};
  return json;
}

void declare(const Description& d, Documents& documents, io::Metadata& metadata) {
  io::Metadata entries;
  std::vector<std::string> names = d.copied;
  for (const std::string& name : d.copied) entries[name] = R"({"_type": "Tensor"})";
  for (const Weight& w : d.weights) names.push_back(w.name), entries[w.name] = entry_text(w, metadata);
  for (const std::string& name : names)
    if (stem(name).empty())
      throw std::invalid_argument("tensor '" + name + "': torchao's loader reads no name without a dot");
  remove_entries(metadata);
  for (auto& [name, text] : entries) metadata[name] = std::move(text);
  metadata["tensor_names"] = list(std::move(names));
  if (!documents.contains("config") || quant_method(documents) == method) return;
  set_quantization_config(documents,
                          {{"quant_method", method},
                           {"quant_type", {{"default", quant_type(d)}}},
                           {"modules_to_not_convert", d.kept},
                           {"include_input_output_embeddings", false},
                           {"untie_embedding_weights", false}},
                          2);
}

}  // namespace

const Convention torchao_convention{.name = "torchao",
                                    .file = "safetensors",
                                    .producer = &dialects::torchao::info,
                                    .use = ScaleUse::multiplies,
                                    .declared = declared,
                                    .find = find,
                                    .load = load,
                                    .decode = decode,
                                    .obstacle = obstacle,
                                    .parts = parts,
                                    .store = store,
                                    .undeclare = undeclare,
                                    .declare = declare,
                                    .declares_from_itself = true,
                                    .factors = factors};

}  // namespace nvfp4
