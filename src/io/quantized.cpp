#include <nvfp4/io/quantized.hpp>

#include <algorithm>
#include <array>
#include <stdexcept>

#include <nvfp4/io/error.hpp>

#include "manifest.hpp"
#include "text.hpp"

namespace nvfp4::io {
namespace {

ArrayView bytes_array(std::string name, std::vector<std::int64_t> shape,
                      std::span<const std::uint8_t> bytes) {
  return {{std::move(name), ElementType::u8, std::move(shape)}, std::as_bytes(bytes)};
}

void add_tensor(std::vector<ArrayView>& arrays, const std::string& prefix, const BlockScaledTensor& t) {
  arrays.push_back(bytes_array(prefix + "packed", {t.rows, t.row_bytes()}, t.codes));
  arrays.push_back(bytes_array(prefix + "scales", {t.rows, t.blocks_per_row()}, t.scales));
  if (t.global.empty()) return;
  arrays.push_back(
      {{prefix + "global", ElementType::f32, global_shape(t)}, std::as_bytes(std::span(t.global))});
}

std::vector<float> read_global(const ArrayFile& file, const std::string& name, const BlockScaledTensor& t) {
  if (t.spec.dialect->global_is == GlobalIs::none) {
    if (file.contains(name))
      file.read(name).refuse("no such array: the dialect has no second-level scale", "one");
    return {};
  }
  const Array array = file.read(name);
  const auto values = array.f32(global_shape(t));
  return {values.begin(), values.end()};
}

std::vector<std::uint8_t> read_bytes_array(const ArrayFile& file, const std::string& name, std::int64_t rows,
                                           std::int64_t cols) {
  const Array array = file.read(name);
  const auto bytes = array.u8(std::array{rows, cols});
  return {bytes.begin(), bytes.end()};
}

/// Swizzled scales may be flat, as the hardware has them, or in the padded extent's two dimensions.
void check_swizzled(const ArrayFile& file, const std::string& name, const QuantizedFile& q) {
  if (q.layout == ScaleLayout::linear) {
    if (file.contains(name)) file.read(name).refuse("no such array: the manifest's layout is linear", "one");
    return;
  }
  const Array array = file.read(name);
  const ScaleExtent extent = padded(q.layout, q.rows.rows, q.rows.blocks_per_row());
  const bool flat = array.info.shape.size() == 1;
  const auto bytes =
      array.u8(flat ? std::vector{extent.rows * extent.cols} : std::vector{extent.rows, extent.cols});
  const auto expected = to_layout(q.layout, q.rows.scales, q.rows.rows, q.rows.blocks_per_row());
  const auto [differs, found] = std::ranges::mismatch(expected, bytes);
  if (differs == expected.end()) return;
  const auto at = std::to_string(differs - expected.begin());
  array.refuse("the bytes of array 'scales' in layout " + std::string(nvfp4::name(q.layout)),
               "another at byte " + at);
}

}  // namespace

std::vector<std::int64_t> global_shape(const BlockScaledTensor& t) {
  if (t.spec.tensor_scale == TensorScale::tensor) return {1};
  if (t.spec.dialect->outer_cols) return {t.rows, t.globals_per_row()};
  return {t.rows};
}

std::string manifest_json(const QuantizedFile& q) {
  return to_json({q.rows.spec, q.rows.dtype, q.rows.rows, q.rows.cols, 0, q.layout, q.options, q.provenance});
}

void write_quantized(const std::string& path, const QuantizedFile& q, Overwrite overwrite) {
  const BlockScaledTensor& rows = q.rows;
  std::vector<ArrayView> arrays;
  add_tensor(arrays, "", rows);
  std::vector<std::uint8_t> swizzled;
  if (q.layout != ScaleLayout::linear) {
    const ScaleExtent extent = padded(q.layout, rows.rows, rows.blocks_per_row());
    swizzled = to_layout(q.layout, rows.scales, rows.rows, rows.blocks_per_row());
    arrays.push_back(bytes_array("scales_swizzled", {extent.rows, extent.cols}, swizzled));
  }
  if (q.columns) add_tensor(arrays, "col_", *q.columns);
  const std::string manifest = manifest_json(q);
  const auto text = std::as_bytes(std::span(manifest));
  arrays.push_back({{"manifest", ElementType::u8, {static_cast<std::int64_t>(text.size())}}, text});
  write_arrays(path, arrays, overwrite);
}

QuantizedFile read_quantized(const std::string& path) { return read_quantized(*open_arrays(path)); }

QuantizedFile read_quantized(const ArrayFile& file, std::string_view prefix) {
  const std::string before(prefix);
  Manifest manifest = read_manifest(file, before + "manifest");
  if (manifest.experts)
    file.read(before + "manifest")
        .refuse("one matrix", "a stack of " + std::to_string(manifest.experts) + " experts");
  QuantizedFile q;
  q.rows = read_tensor(file, prefix, manifest.spec, manifest.rows, manifest.cols);
  q.rows.dtype = manifest.dtype;
  q.layout = manifest.layout;
  q.options = std::move(manifest.options);
  q.provenance = std::move(manifest.provenance);
  check_swizzled(file, before + "scales_swizzled", q);
  if (file.contains(before + "col_packed"))
    q.columns = read_tensor(file, before + "col_", manifest.spec, manifest.cols, manifest.rows);
  if (q.columns) q.columns->dtype = manifest.dtype;
  return q;
}

BlockScaledTensor read_tensor(const ArrayFile& file, std::string_view prefix, const QuantizeSpec& spec,
                              std::int64_t rows, std::int64_t cols) {
  const std::string before(prefix);
  BlockScaledTensor t;
  t.spec = spec;
  t.rows = rows;
  t.cols = cols;
  t.codes = read_bytes_array(file, before + "packed", rows, t.row_bytes());
  t.scales = read_bytes_array(file, before + "scales", rows, t.blocks_per_row());
  t.global = read_global(file, before + "global", t);
  return t;
}

}  // namespace nvfp4::io
