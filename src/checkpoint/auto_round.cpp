#include <algorithm>
#include <stdexcept>

#include "decode.hpp"
#include "packed_weights.hpp"
#include "quantization_config.hpp"

/// auto-round's own format: compressed-tensors' names under another document. Its loader has NVFP4 with a static scale of
/// the input, and MXFP4.
namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view method = "auto-round";

/// NVFP4QuantLinear._dequant_nvfp4_tensor: the element is scaled by the reciprocal first, which is 0 of 0.
/// (dialects::auto_round is what its quantizer takes a weight for.)
Matrix decode(const StoredWeight& w, std::int64_t expert, const Kernels& kernels) {
  return decoded(w, expert, decode_tables(w.weight.scale, kernels),
                 [](float q, float s, float global) { return q * (global == 0 ? 0 : 1 / global) * s; });
}

bool declared(const Checkpoint& c) { return quant_method(c.documents()) == method; }

std::string obstacle(const Weight& w) {
  const bool single = w.scale == Format::ue4m3 && !w.input;
  return single ? "auto-round's loader needs the scale of an NVFP4 weight's input" : packed_obstacle(w);
}

void undeclare(Documents& documents, io::Metadata&) { remove_quantization_config(documents, method); }

bool is_mx(const Weight& w) { return w.scale == Format::e8m0; }

/// A serialized scheme. Its loader asks for all of it but bits, sym and autoround_version.
Json scheme(bool mx) {
  const int group = mx ? 32 : 16;
  return {{"bits", 4},
          {"act_bits", 4},
          {"data_type", mx ? "mx_fp" : "nv_fp"},
          {"act_data_type", mx ? "mx_fp" : "nv_fp4_with_static_gs"},
          {"group_size", group},
          {"act_group_size", group},
          {"sym", true},
          {"act_sym", true},
          {"act_dynamic", true},
          {"autoround_version", dialects::auto_round::info.version},
          {"quant_method", method},
          {"packing_format", "auto_round:llm_compressor"}};
}

void declare(const Description& d, Documents& documents, io::Metadata&) {
  const bool mx = is_mx(d.weights.front());
  if (!std::all_of(d.weights.begin(), d.weights.end(), [&](const Weight& w) { return is_mx(w) == mx; }))
    throw std::invalid_argument("auto-round has one scheme a checkpoint, this one NVFP4 and MXFP4");
  Json config = scheme(mx);
  for (const std::string& module : d.kept) config["extra_config"][module] = {{"bits", 16}, {"act_bits", 16}};
  set_quantization_config(documents, config, 2);
  documents["quantization_config"] = config.dump(2);
}

}  // namespace

const Convention auto_round_convention{.name = "auto-round",
                                       .file = "safetensors",
                                       .producer = &dialects::auto_round::info,
                                       .use = ScaleUse::divides,
                                       .declared = declared,
                                       .find = find_packed,
                                       .load = load_packed,
                                       .decode = decode,
                                       .obstacle = obstacle,
                                       .parts = packed_parts,
                                       .store = store_packed,
                                       .undeclare = undeclare,
                                       .declare = declare,
                                       .factors = packed_factors,
                                       .companions = packed_companions};

}  // namespace nvfp4
