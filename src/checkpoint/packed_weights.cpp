#include "packed_weights.hpp"

#include "scale_tensors.hpp"

namespace nvfp4 {
namespace {

using io::ElementType;

constexpr std::string_view weight_end = ".weight", packed_end = ".weight_packed";

std::string part(const Weight& w, std::string_view end) { return module_of(w.name) + std::string(end); }

/// Its block scales and, of NVFP4, its second-level scale are there.
bool has_scales(const Checkpoint& c, const Weight& w) {
  const std::string scales = part(w, ".weight_scale");
  const Shape shape{w.shape[0], w.shape[1] / w.block()};
  if (w.scale == Format::e8m0) return c.holds(scales, ElementType::u8, shape);
  return c.holds(scales, ElementType::f8_e4m3, shape) && holds_scales(c, part(w, ".weight_global_scale"), 1);
}

std::optional<Weight> weight_of(const Checkpoint& c, const Tensor& t) {
  const std::string& name = t.info.name;
  if (!name.ends_with(packed_end) || t.info.type != ElementType::u8 || !t.block_type.empty() ||
      t.shape.size() != 2)
    return std::nullopt;
  if (elements(t.shape) == 0) return std::nullopt;
  const std::string module = name.substr(0, name.size() - packed_end.size());
  Weight w{.name = module + std::string(weight_end), .shape = {t.shape[0], 2 * t.shape[1]}};
  const Tensor* scales = c.find(part(w, ".weight_scale"));
  if (scales && scales->info.type == ElementType::u8) w.scale = Format::e8m0;
  if (w.cols() % w.block() || !has_scales(c, w)) return std::nullopt;
  w.tensors = {name, part(w, ".weight_scale")};
  if (w.scale == Format::e8m0) return w;
  w.second = ScaleUse::divides, w.tensors.push_back(part(w, ".weight_global_scale"));
  if (const std::string input = part(w, ".input_global_scale"); holds_scales(c, input, 1))
    w.input = ScaleUse::divides, w.tensors.push_back(input);
  return w;
}

}  // namespace

std::vector<Weight> find_packed(const Checkpoint& c) { return weights_of(c, weight_of); }

StoredWeight load_packed(const Checkpoint& c, const Weight& w) {
  StoredWeight s{.weight = w,
                 .codes = c.read(part(w, packed_end)).bytes,
                 .scales = c.read(part(w, ".weight_scale")).bytes};
  if (w.second) s.second = read_scales(c, part(w, ".weight_global_scale"), ScaleUse::divides);
  if (w.input) s.input = read_scales(c, part(w, ".input_global_scale"), ScaleUse::divides);
  return s;
}

std::string packed_obstacle(const Weight& w) {
  if (!w.name.ends_with(weight_end))
    return "packed weights have no place for a name that does not end in .weight";
  if (w.shape.size() != 2) return "packed weights have no place for a stack of experts";
  if (w.cols() % w.block()) return "K is no multiple of " + std::to_string(w.block());
  if (w.scale == Format::e8m0 && (w.second || w.input))
    return "packed MXFP4 has no place for a second-level scale";
  return "";
}

std::vector<OutputTensor> packed_parts(const Weight& w) {
  const std::int64_t n = w.rows(), k = w.cols();
  const bool mx = w.scale == Format::e8m0;
  std::vector<OutputTensor> tensors;
  if (!mx) tensors.push_back({{part(w, ".weight_global_scale"), ElementType::f32, {1}}});
  if (w.input) tensors.push_back({{part(w, ".input_global_scale"), ElementType::f32, {1}}});
  tensors.push_back({{part(w, packed_end), ElementType::u8, {n, k / 2}}});
  tensors.push_back(
      {{part(w, ".weight_scale"), mx ? ElementType::u8 : ElementType::f8_e4m3, {n, k / w.block()}}});
  return tensors;
}

std::vector<io::Bytes> store_packed(const StoredWeight& w) {
  std::vector<io::Bytes> bytes;
  if (w.weight.scale != Format::e8m0) bytes.push_back(scale_bytes(w.second, ScaleUse::divides, 1));
  if (w.input) bytes.push_back(scale_bytes(w.input, ScaleUse::divides, 1));
  bytes.push_back(w.codes);
  bytes.push_back(w.scales);
  return bytes;
}

}  // namespace nvfp4
