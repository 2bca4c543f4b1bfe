#include "convention.hpp"
#include "decode.hpp"
#include "quantization_config.hpp"

/// The MXFP4 of gpt-oss and transformers: NAME_blocks U8 (..., N, K/32, 16) and NAME_scales U8 (..., N, K/32), E8M0. Its
/// own loader transposes a stack of experts after decoding it: (E, N, K) here is (E, K, N) there.
namespace nvfp4 {
namespace {

using io::ElementType;

constexpr std::string_view method = "mxfp4", blocks_end = "_blocks", scales_end = "_scales";
constexpr std::int64_t block = 32, block_bytes = 16;

std::string part(const Weight& w, std::string_view end) { return w.name + std::string(end); }

Shape scales_shape(const Weight& w) { return with_last(w.shape, w.cols() / block); }

Shape blocks_shape(const Weight& w) {
  Shape shape = scales_shape(w);
  shape.push_back(block_bytes);
  return shape;
}

std::optional<Weight> weight_of(const Checkpoint& c, const Tensor& t) {
  const std::string& name = t.info.name;
  if (!name.ends_with(blocks_end) || t.info.type != ElementType::u8 || !t.block_type.empty() ||
      t.shape.size() < 3 || t.shape.size() > 4 || t.shape.back() != block_bytes || elements(t.shape) == 0)
    return std::nullopt;
  Weight w{.name = name.substr(0, name.size() - blocks_end.size()),
           .shape = {t.shape.begin(), t.shape.end() - 1},
           .scale = Format::e8m0};
  w.shape.back() *= block;
  if (!c.holds(part(w, scales_end), ElementType::u8, scales_shape(w))) return std::nullopt;
  w.tensors = {name, part(w, scales_end)};
  return w;
}

std::vector<Weight> find(const Checkpoint& c) { return weights_of(c, weight_of); }

StoredWeight load(const Checkpoint& c, const Weight& w) {
  return {
      .weight = w, .codes = c.read(part(w, blocks_end)).bytes, .scales = c.read(part(w, scales_end)).bytes};
}

/// convert_moe_packed_tensors, before its transposition.
Matrix decode(const StoredWeight& w, std::int64_t expert, const Kernels& kernels) {
  return decoded(w, expert, decode_tables(Format::e8m0, kernels),
                 [](float q, float s, float) { return q * s; });
}

std::string obstacle(const Weight& w) {
  if (w.scale != Format::e8m0) return "mxfp4 has no place for NVFP4 blocks";
  if (w.second || w.input) return "mxfp4 has no place for a second-level scale";
  return w.cols() % block ? "K is no multiple of 32" : "";
}

std::vector<OutputTensor> parts(const Weight& w) {
  return {{{part(w, blocks_end), ElementType::u8, blocks_shape(w)}},
          {{part(w, scales_end), ElementType::u8, scales_shape(w)}}};
}

std::vector<io::Bytes> store(const StoredWeight& w) { return {w.codes, w.scales}; }

bool declared(const Checkpoint& c) { return quant_method(c.documents()) == method; }

void undeclare(Documents& documents, io::Metadata&) { remove_quantization_config(documents, method); }

void declare(const Description& d, Documents& documents, io::Metadata&) {
  set_quantization_config(documents, {{"quant_method", method}, {"modules_to_not_convert", d.kept}}, 2);
}

}  // namespace

/// Scales round up: so does triton_kernels' downcast_to_mxfp, by which transformers makes these blocks.
const Convention mxfp4_convention{.name = "mxfp4",
                                  .file = "safetensors",
                                  .producer = &dialects::mxfp4_ceil::info,
                                  .use = ScaleUse::multiplies,
                                  .declared = declared,
                                  .find = find,
                                  .load = load,
                                  .decode = decode,
                                  .obstacle = obstacle,
                                  .parts = parts,
                                  .store = store,
                                  .undeclare = undeclare,
                                  .declare = declare};

}  // namespace nvfp4
