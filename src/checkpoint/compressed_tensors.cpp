#include <map>

#include "decode.hpp"
#include "packed_weights.hpp"
#include "quantization_config.hpp"

/// compressed-tensors and vLLM, formats nvfp4-pack-quantized and mxfp4-pack-quantized.
namespace nvfp4 {
namespace {

using Json = nlohmann::json;  // with sorted keys, as its own ModelCompressor.update_config writes them

constexpr std::string_view method = "compressed-tensors";

/// NVFP4PackedCompressor.decompress on torch CPU, up to its rounding to BF16: the block scale is divided first.
/// (dialects::compressed_tensors multiplies by 1 / global, as a product's epilogue does.)
Matrix decode(const StoredWeight& w, std::int64_t expert, const Kernels& kernels) {
  const DecodeTables tables = decode_tables(w.weight.scale, kernels);
  return decoded(w, expert, tables, [](float q, float s, float global) { return q * (s / global); });
}

bool declared(const Checkpoint& c) { return quant_method(c.documents()) == method; }

void undeclare(Documents& documents, io::Metadata&) { remove_quantization_config(documents, method); }

/// Modules of one scheme.
struct Scheme {
  bool mx, activations;
  auto operator<=>(const Scheme&) const = default;
  const char* format() const { return mx ? "mxfp4-pack-quantized" : "nvfp4-pack-quantized"; }
};

/// QuantizationArgs as they are dumped.
Json arguments(const Scheme& scheme) {
  return {{"dynamic", false},
          {"group_size", scheme.mx ? 32 : 16},
          {"num_bits", 4},
          {"scale_dtype", scheme.mx ? "torch.uint8" : "torch.float8_e4m3fn"},
          {"strategy", scheme.mx ? "group" : "tensor_group"},
          {"symmetric", true},
          {"type", "float"}};
}

/// "local": the loader takes block scales from the input, under input_global_scale.
Json activations(const Scheme& scheme) {
  if (!scheme.activations) return nullptr;
  Json json = arguments(scheme);
  json["dynamic"] = "local";
  json["observer"] = "static_minmax";
  return json;
}

Json group(const Scheme& scheme, const Json& targets) {
  return {{"format", scheme.format()},
          {"input_activations", activations(scheme)},
          {"output_activations", nullptr},
          {"targets", targets},
          {"weights", arguments(scheme)}};
}

/// One scheme is every linear layer's but those ignored; several name their modules.
Json groups(const std::map<Scheme, Json>& modules) {
  Json groups = Json::object();
  for (const auto& [scheme, names] : modules)
    groups["group_" + std::to_string(groups.size())] =
        group(scheme, modules.size() == 1 ? Json{"Linear"} : names);
  return groups;
}

std::string format_of(const std::map<Scheme, Json>& modules) {
  const std::string first = modules.begin()->first.format();
  for (const auto& [scheme, names] : modules)
    if (scheme.format() != first) return "mixed-precision";
  return first;
}

void declare(const Description& d, Documents& documents, io::Metadata&) {
  std::map<Scheme, Json> modules;
  for (const Weight& w : d.weights)
    modules[{w.scale == Format::e8m0, w.input.has_value()}].push_back(module_of(w.name));
  const Json config{{"config_groups", groups(modules)},
                    {"format", format_of(modules)},
                    {"global_compression_ratio", nullptr},
                    {"ignore", d.kept},
                    {"kv_cache_scheme", nullptr},
                    {"moe_sparsity_config", nullptr},
                    {"quant_method", method},
                    {"quantization_status", "compressed"},
                    {"sparsity_config", Json::object()},
                    {"transform_config", Json::object()},
                    {"version", dialects::compressed_tensors::info.version}};
  set_quantization_config(documents, config, 2);
}

}  // namespace

const Convention compressed_tensors_convention{.name = "compressed-tensors",
                                               .file = "safetensors",
                                               .producer = &dialects::compressed_tensors::info,
                                               .use = ScaleUse::divides,
                                               .declared = declared,
                                               .find = find_packed,
                                               .load = load_packed,
                                               .decode = decode,
                                               .obstacle = packed_obstacle,
                                               .parts = packed_parts,
                                               .store = store_packed,
                                               .undeclare = undeclare,
                                               .declare = declare,
                                               .factors = packed_factors,
                                               .companions = packed_companions};

}  // namespace nvfp4
