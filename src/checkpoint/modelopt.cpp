#include "decode.hpp"
#include "modelopt_documents.hpp"
#include "scale_tensors.hpp"

/// ModelOpt's tensors: P.weight U8 (N, K/2); P.weight_scale F8_E4M3 (N, K/16), linear; P.weight_scale_2 F32 scalar,
/// w = element * (weight_scale * weight_scale_2); P.input_scale F32 scalar, amax / 2688. A stack of experts is (E, N, K)
/// of the same, and has a scale for each. A parameter of another name than "weight" gives it to all: W, W_weight_scale.
/// MXFP4 is only read: P.weight_scale U8 (N, K/32). Quark writes the same names, but input_scale_2.
namespace nvfp4 {
namespace {

using io::ElementType;

constexpr std::string_view factors[] = {"weight_scale",     "weight_scale_2",   "weight_scale_inv",
                                        ".pre_quant_scale", ".svdquant_lora_a", ".svdquant_lora_b"};
constexpr std::string_view companions[] = {"input_scale", "input_scale_2", ".output_scale", ".k_scale",
                                           ".v_scale",    ".k_bias",       ".v_bias"};

/// "P." of "P.weight", "P.W_" of "P.W".
std::string stem(const std::string& weight) {
  const std::size_t dot = weight.rfind('.');
  const std::size_t begin = dot == std::string::npos ? 0 : dot + 1;
  return weight.substr(begin) == "weight" ? weight.substr(0, begin) : weight + "_";
}

bool is_codes(const Tensor& t) {
  return t.info.type == ElementType::u8 && t.block_type.empty() &&
         (t.shape.size() == 2 || t.shape.size() == 3) && elements(t.shape) > 0;
}

/// The tensor of the input's scale; empty where there is none, or it is none of NVFP4: W4A8_NVFP4_FP8 has inputs in
/// FP8, whose scale is amax / 448.
std::string input_of(const Checkpoint& c, const Weight& w, const ModeloptAlgorithms& algorithms) {
  if (algorithms.of(module_of(w.name)) == "W4A8_NVFP4_FP8") return "";
  for (const char* end : {"input_scale", "input_scale_2"})
    if (holds_scales(c, stem(w.name) + end, w.experts())) return stem(w.name) + end;
  return "";
}

/// Of W4A8_NVFP4_FP8 one for 32 elements, which stands for two here.
bool holds_block_scales(const Checkpoint& c, const Weight& w) {
  for (const std::int64_t block : {16, 32})
    if (w.cols() % block == 0 &&
        c.holds(stem(w.name) + "weight_scale", ElementType::f8_e4m3, with_last(w.shape, w.cols() / block)))
      return true;
  return false;
}

io::Bytes doubled(const io::Bytes& scales) {
  std::vector<std::byte> twice;
  for (const std::byte scale : scales.view()) twice.insert(twice.end(), 2, scale);
  return io::Bytes(std::move(twice));
}

std::optional<Weight> weight_of(const Checkpoint& c, const Tensor& t, const ModeloptAlgorithms& algorithms) {
  if (!is_codes(t)) return std::nullopt;
  Weight w{.name = t.info.name, .shape = with_last(t.shape, 2 * t.shape.back())};
  const std::string scales = stem(w.name) + "weight_scale", second = stem(w.name) + "weight_scale_2";
  w.tensors = {w.name, scales};
  if (w.cols() % 32 == 0 && c.holds(scales, ElementType::u8, with_last(t.shape, w.cols() / 32))) {
    w.scale = Format::e8m0;
    return w;
  }
  if (!holds_block_scales(c, w) || !holds_scales(c, second, w.experts())) return std::nullopt;
  w.second = ScaleUse::multiplies, w.tensors.push_back(second);
  if (const std::string input = input_of(c, w, algorithms); !input.empty())
    w.input = ScaleUse::multiplies, w.tensors.push_back(input);
  return w;
}

std::vector<Weight> find(const Checkpoint& c) {
  const ModeloptAlgorithms algorithms(c.documents());
  return weights_of(c, [&](const Checkpoint& all, const Tensor& t) { return weight_of(all, t, algorithms); });
}

StoredWeight load(const Checkpoint& c, const Weight& w) {
  StoredWeight stored{
      .weight = w, .codes = c.read(w.name).bytes, .scales = c.read(stem(w.name) + "weight_scale").bytes};
  if (w.second && stored.scales.size() < stored.codes.size() / 8) stored.scales = doubled(stored.scales);
  if (w.second) stored.second = read_scales(c, stem(w.name) + "weight_scale_2", ScaleUse::multiplies);
  if (w.input) stored.input = read_scales(c, w.tensors.back(), ScaleUse::multiplies);
  return stored;
}

/// NVFP4QTensor.dequantize, MXFP4QTensor.dequantize.
Matrix decode(const StoredWeight& w, std::int64_t expert, const Kernels& kernels) {
  if (w.weight.scale == Format::ue4m3) return decoded_by(dialects::modelopt::info, w, expert, kernels);
  return decoded(w, expert, decode_tables(Format::e8m0, kernels),
                 [](float q, float s, float) { return q * s; });
}

std::string obstacle(const Weight& w) {
  if (w.scale != Format::ue4m3) return "modelopt has no place for MXFP4 blocks";
  return w.cols() % 16 ? "K is no multiple of 16" : "";
}

std::vector<OutputTensor> parts(const Weight& w) {
  const Shape scalar = w.shape.size() == 3 ? Shape{w.experts()} : Shape{};
  std::vector<OutputTensor> tensors{{{stem(w.name) + "weight_scale_2", ElementType::f32, scalar}}};
  if (w.input) tensors.push_back({{stem(w.name) + "input_scale", ElementType::f32, scalar}});
  tensors.push_back({{w.name, ElementType::u8, with_last(w.shape, w.cols() / 2)}});
  tensors.push_back(
      {{stem(w.name) + "weight_scale", ElementType::f8_e4m3, with_last(w.shape, w.cols() / 16)}});
  return tensors;
}

std::vector<io::Bytes> store(const StoredWeight& w) {
  const std::int64_t experts = w.weight.experts();
  std::vector<io::Bytes> bytes{scale_bytes(w.second, ScaleUse::multiplies, experts)};
  if (w.input) bytes.push_back(scale_bytes(w.input, ScaleUse::multiplies, experts));
  bytes.push_back(w.codes);
  bytes.push_back(w.scales);
  return bytes;
}

}  // namespace

const Convention modelopt_convention{
    .name = "modelopt",
    .file = "safetensors",
    .producer = &dialects::modelopt::info,
    .use = ScaleUse::multiplies,
    .declared = [](const Checkpoint& c) { return modelopt_declared(c.documents()); },
    .find = find,
    .load = load,
    .decode = decode,
    .obstacle = obstacle,
    .parts = parts,
    .store = store,
    .undeclare = modelopt_undeclare,
    .declare = modelopt_declare,
    .factors = factors,
    .companions = companions};

}  // namespace nvfp4
