#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "../number_text.hpp"
#include "convention.hpp"
#include "decode.hpp"
#include "gguf_blocks.hpp"
#include "gguf_metadata.hpp"
#include "scale_tensors.hpp"

/// GGUF's types NVFP4 and MXFP4. The second-level scale of NVFP4 "P.weight" is "P.scale" F32 (1), or (E) of a stack, which
/// llama.cpp multiplies the product by; none is 1. "P.input_scale" likewise. Names stay what they are: they are not
/// llama.cpp's, nor are the rows of q and k permuted, where the checkpoint was none of its converter's.
namespace nvfp4 {
namespace {

using io::ElementType;

constexpr std::int64_t nvfp4_elements = 64, nvfp4_bytes = 36, mxfp4_elements = 32, mxfp4_bytes = 17;
constexpr std::string_view nvfp4_type = "NVFP4", mxfp4_type = "MXFP4";
constexpr std::uint32_t mostly_mxfp4 = 38, mostly_nvfp4 = 39;  // gguf-py's LlamaFileType

std::string beside(const std::string& weight, std::string_view end) {
  constexpr std::string_view suffix = ".weight";
  const std::size_t size = weight.ends_with(suffix) ? weight.size() - suffix.size() : weight.size();
  return weight.substr(0, size) + std::string(end);
}

std::optional<Weight> weight_of(const Checkpoint& c, const Tensor& t) {
  const bool nv = t.block_type == nvfp4_type;
  if ((!nv && t.block_type != mxfp4_type) || t.shape.size() < 2 || t.shape.size() > 3 ||
      elements(t.shape) == 0)
    return std::nullopt;
  Weight w{.name = t.info.name, .shape = t.shape, .scale = nv ? Format::ue4m3 : Format::e8m0};
  w.tensors = {w.name};
  if (!nv) return w;
  const std::string second = beside(w.name, ".scale"), input = beside(w.name, ".input_scale");
  if (holds_scales(c, second, w.experts())) w.second = ScaleUse::multiplies, w.tensors.push_back(second);
  if (holds_scales(c, input, w.experts())) w.input = ScaleUse::multiplies, w.tensors.push_back(input);
  return w;
}

std::vector<Weight> find(const Checkpoint& c) { return weights_of(c, weight_of); }

StoredWeight load(const Checkpoint& c, const Weight& w) {
  CodesAndScales parts = from_ggml_blocks(w.scale, c.read(w.name).bytes.u8());
  StoredWeight s{
      .weight = w, .codes = owned(std::move(parts.codes)), .scales = owned(std::move(parts.scales))};
  if (w.second) s.second = read_scales(c, beside(w.name, ".scale"), ScaleUse::multiplies);
  if (w.input) s.input = read_scales(c, beside(w.name, ".input_scale"), ScaleUse::multiplies);
  return s;
}

/// dequantize_row_nvfp4's: bit 7 is ignored, 0x7F is zero, but 0xFF is 480.
float nvfp4_scale(int byte) {
  if (byte == 0x7F) return 0;
  const int exponent = byte >> 3 & 15, mantissa = byte & 7;
  return exponent ? std::ldexp(8.f + static_cast<float>(mantissa), exponent - 10)
                  : std::ldexp(static_cast<float>(mantissa), -9);
}

/// Its elements are integers, so that code 8 is +0. MXFP4's are twice the value, under half the scale: of byte 255 that
/// is 2^127.
DecodeTables tables_of(Format scale) {
  static constexpr float twice[] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  DecodeTables tables;
  std::copy(std::begin(twice), std::end(twice), tables.elements.begin());
  for (int byte = 0; byte < 256; ++byte)
    tables.scales[static_cast<std::size_t>(byte)] =
        scale == Format::e8m0 ? std::ldexp(1.f, byte - 128) : nvfp4_scale(byte) / 2;
  return tables;
}

Matrix decode(const StoredWeight& w, std::int64_t expert, const Kernels&) {
  return decoded(w, expert, tables_of(w.weight.scale),
                 [](float q, float s, float second) { return q * s * second; });
}

std::string obstacle(const Weight& w) {
  const bool nv = w.scale == Format::ue4m3;
  if (w.cols() % (nv ? nvfp4_elements : mxfp4_elements))
    return nv ? "K is no multiple of 64, a block of GGUF's NVFP4" : "K is no multiple of 32";
  return !nv && (w.second || w.input) ? "GGUF's MXFP4 has no place for a second-level scale" : "";
}

std::vector<OutputTensor> parts(const Weight& w) {
  const bool nv = w.scale == Format::ue4m3;
  std::vector<OutputTensor> tensors;
  if (w.second) tensors.push_back({{beside(w.name, ".scale"), ElementType::f32, {w.experts()}}});
  if (w.input) tensors.push_back({{beside(w.name, ".input_scale"), ElementType::f32, {w.experts()}}});
  const std::int64_t bytes =
      nv ? w.cols() / nvfp4_elements * nvfp4_bytes : w.cols() / mxfp4_elements * mxfp4_bytes;
  tensors.push_back(
      {{w.name, ElementType::u8, with_last(w.shape, bytes)}, nv ? nvfp4_type : mxfp4_type, w.shape});
  return tensors;
}

/// Scales that ggml would take for others.
void refuse_scales(const StoredWeight& w) {
  const bool nv = w.weight.scale == Format::ue4m3;
  for (const std::uint8_t byte : w.scales.u8()) {
    if (byte < (nv ? 0x7F : 0xFF)) continue;
    throw std::invalid_argument(w.weight.name + ": block scale " + hex8(byte) + " is " +
                                (byte == 0xFF || byte == 0x7F ? "NaN" : "negative") +
                                ", which ggml does not read");
  }
}

std::vector<io::Bytes> store(const StoredWeight& w) {
  refuse_scales(w);
  std::vector<io::Bytes> bytes;
  for (const auto& scale : {w.second, w.input})
    if (scale) bytes.push_back(scale_bytes(scale, ScaleUse::multiplies, w.weight.experts()));
  bytes.push_back(owned(to_ggml_blocks(w.weight.scale, w.codes.u8(), w.scales.u8())));
  return bytes;
}

bool declared(const Checkpoint& c) {
  return std::any_of(c.files().begin(), c.files().end(),
                     [](const CheckpointFile& file) { return file.arrays->container() == "gguf"; });
}

/// The metadata go on in safetensors, whose loaders do not read them.
void undeclare(Documents&, io::Metadata&) {}

void declare(const Description& d, Documents&, io::Metadata& metadata) {
  const bool nv = std::any_of(d.weights.begin(), d.weights.end(),
                              [](const Weight& w) { return w.scale == Format::ue4m3; });
  set_gguf_file_type(metadata, nv ? mostly_nvfp4 : mostly_mxfp4);
}

}  // namespace

const Convention gguf_convention{.name = "gguf",
                                 .file = "gguf",
                                 .producer = &dialects::ggml::info,
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
