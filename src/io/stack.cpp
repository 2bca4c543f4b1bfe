#include <algorithm>
#include <array>

#include <nvfp4/io/error.hpp>
#include <nvfp4/io/quantized.hpp>

#include "manifest.hpp"

namespace nvfp4::io {
namespace {

using Shape = std::vector<std::int64_t>;

template <class T>
void append(std::vector<T>& all, const std::vector<T>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

/// The arrays of all experts, one after another.
struct Joined {
  std::vector<std::uint8_t> packed, scales, swizzled;
  std::vector<float> global;
};

Joined join(const QuantizedStack& stack) {
  Joined all;
  for (const BlockScaledTensor& e : stack.experts) {
    append(all.packed, e.codes);
    append(all.scales, e.scales);
    append(all.global, e.global);
    if (stack.layout != ScaleLayout::linear)
      append(all.swizzled, to_layout(stack.layout, e.scales, e.rows, e.blocks_per_row()));
  }
  return all;
}

/// What one expert looks like, before its bytes are there.
struct Form {
  BlockScaledTensor expert;
  std::int64_t experts;
  ScaleLayout layout;

  Shape packed() const { return {experts, expert.rows, expert.row_bytes()}; }
  Shape scales() const { return {experts, expert.rows, expert.blocks_per_row()}; }
  Shape global() const {
    Shape shape{experts};
    if (expert.spec.tensor_scale == TensorScale::row) append(shape, global_shape(expert));
    return shape;
  }
  Shape swizzled() const {
    const ScaleExtent extent = padded(layout, expert.rows, expert.blocks_per_row());
    return {experts, extent.rows, extent.cols};
  }
};

Form form_of(const QuantizedStack& stack) {
  return {stack.experts.at(0), static_cast<std::int64_t>(stack.experts.size()), stack.layout};
}

template <class T>
std::vector<T> part(std::span<const T> all, std::int64_t experts, std::int64_t expert) {
  const std::size_t size = all.size() / static_cast<std::size_t>(experts);
  const auto mine = all.subspan(size * static_cast<std::size_t>(expert), size);
  return {mine.begin(), mine.end()};
}

void check_swizzled(const ArrayFile& file, const QuantizedStack& stack, const Form& form) {
  if (stack.layout == ScaleLayout::linear) {
    if (file.contains("scales_swizzled"))
      file.read("scales_swizzled").refuse("no such array: the manifest's layout is linear", "one");
    return;
  }
  const Array array = file.read("scales_swizzled");
  if (!std::ranges::equal(array.u8(form.swizzled()), join(stack).swizzled))
    array.refuse("the bytes of array 'scales' in layout " + std::string(nvfp4::name(stack.layout)), "others");
}

void read_experts(const ArrayFile& file, const Form& form, QuantizedStack& stack) {
  const Array packed = file.read("packed"), scales = file.read("scales");
  const auto codes = packed.u8(form.packed()), scale_bytes = scales.u8(form.scales());
  const bool has_global = form.expert.spec.dialect->global_is != GlobalIs::none;
  const Array global = has_global ? file.read("global") : Array();
  const auto globals = has_global ? global.f32(form.global()) : std::span<const float>();
  for (std::int64_t e = 0; e < form.experts; ++e) {
    BlockScaledTensor& expert = stack.experts.emplace_back(form.expert);
    expert.codes = part(codes, form.experts, e);
    expert.scales = part(scale_bytes, form.experts, e);
    expert.global = part(globals, form.experts, e);
  }
}

}  // namespace

std::string manifest_json(const QuantizedStack& stack) {
  const Form form = form_of(stack);
  return to_json({form.expert.spec, form.expert.dtype, form.expert.rows, form.expert.cols, form.experts,
                  stack.layout, stack.options, stack.provenance});
}

void write_quantized(const std::string& path, const QuantizedStack& stack, Overwrite overwrite) {
  const Form form = form_of(stack);
  const Joined all = join(stack);
  const std::string manifest = manifest_json(stack);
  const auto text = std::as_bytes(std::span(manifest));
  std::vector<ArrayView> arrays = {
      {{"packed", ElementType::u8, form.packed()}, std::as_bytes(std::span(all.packed))},
      {{"scales", ElementType::u8, form.scales()}, std::as_bytes(std::span(all.scales))}};
  if (!all.global.empty())
    arrays.push_back({{"global", ElementType::f32, form.global()}, std::as_bytes(std::span(all.global))});
  if (!all.swizzled.empty())
    arrays.push_back(
        {{"scales_swizzled", ElementType::u8, form.swizzled()}, std::as_bytes(std::span(all.swizzled))});
  arrays.push_back({{"manifest", ElementType::u8, {static_cast<std::int64_t>(text.size())}}, text});
  write_arrays(path, arrays, overwrite);
}

bool holds_stack(const ArrayFile& file) { return read_manifest(file, "manifest").experts > 0; }

QuantizedStack read_stack(const ArrayFile& file) {
  Manifest manifest = read_manifest(file, "manifest");
  if (manifest.experts == 0) file.read("manifest").refuse("a stack of experts", "one matrix");
  Form form{{}, manifest.experts, manifest.layout};
  form.expert.spec = manifest.spec;
  form.expert.dtype = manifest.dtype;
  form.expert.rows = manifest.rows;
  form.expert.cols = manifest.cols;
  QuantizedStack stack{{}, manifest.layout, std::move(manifest.options), std::move(manifest.provenance)};
  read_experts(file, form, stack);
  check_swizzled(file, stack, form);
  return stack;
}

}  // namespace nvfp4::io
