#include "golden_file.hpp"

#include <nvfp4/layout.hpp>

namespace nvfp4::cli {
namespace {

template <class T>
GoldenArray array(std::string name, io::ElementType type, std::vector<std::int64_t> shape,
                  const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {{std::move(name), type, std::move(shape)}, {bytes.begin(), bytes.end()}};
}

void append(const BlockScaledTensor& t, const std::string& prefix, std::vector<GoldenArray>& arrays) {
  arrays.push_back(array(prefix + "packed", io::ElementType::u8, {t.rows, t.row_bytes()}, t.codes));
  arrays.push_back(array(prefix + "scales", io::ElementType::u8, {t.rows, t.blocks_per_row()}, t.scales));
  if (!t.global.empty())
    arrays.push_back(array(prefix + "global", io::ElementType::f32, io::global_shape(t), t.global));
}

GoldenArray swizzled_scales(const BlockScaledTensor& t) {
  const ScaleExtent extent = padded(ScaleLayout::tiled_128x4, t.rows, t.blocks_per_row());
  return array("scales_swizzled", io::ElementType::u8, {extent.rows, extent.cols},
               to_layout(ScaleLayout::tiled_128x4, t.scales, t.rows, t.blocks_per_row()));
}

bool is(const BlockScaledTensor& t, const Dialect& dialect) { return t.spec.dialect->name == dialect.name; }

/// The block scales as FP32, before they are cast to bytes: on E4M3's grid already.
GoldenArray scales_before_cast(const BlockScaledTensor& t, const Kernels& kernels) {
  const std::vector<std::uint32_t> codes(t.scales.begin(), t.scales.end());
  std::vector<float> values(codes.size());
  kernels.decode(codes, Format::e4m3, values);
  return array("scale_before_cast", io::ElementType::f32, {t.rows, t.blocks_per_row()}, values);
}

/// What NVFP4PackedCompressor.decompress yields: element * (scale / global) in BF16, widened.
std::vector<float> decompressed(const BlockScaledTensor& t, const Kernels& kernels) {
  std::vector<std::uint32_t> codes, scales(t.scales.begin(), t.scales.end());
  for (const std::uint8_t byte : t.codes)
    codes.insert(codes.end(), {std::uint32_t{byte} & 15, std::uint32_t{byte} >> 4});
  std::vector<float> elements(codes.size()), scale_values(scales.size());
  kernels.decode(codes, Format::e2m1, elements);
  kernels.decode(scales, Format::e4m3, scale_values);
  for (std::size_t i = 0; i < elements.size(); ++i) elements[i] *= scale_values[i / 16] / t.global[0];
  kernels.encode(elements, {.format = Format::bf16, .overflow = Overflow::special}, codes);
  kernels.decode(codes, Format::bf16, elements);
  return elements;
}

}  // namespace

GoldenArray transformed_array(const Producer& producer, MatrixView x, const Kernels& kernels) {
  const Along along = producer.columns ? Along::tokens : Along::row;
  const Matrix made = kernels.hadamard(x, transform_of(producer, x.dtype, along));
  const Matrix values = converted(made.view(), Dtype::fp32, kernels);
  return array("transformed", io::ElementType::f32, {values.rows, values.cols}, values.bytes);
}

std::vector<GoldenArray> arrays_of_some(const ProducerResult& result, const Kernels& kernels) {
  const BlockScaledTensor& t = result.rows;
  std::vector<GoldenArray> arrays{swizzled_scales(t)};
  if (is(t, dialects::compressed_tensors::info)) {
    arrays.push_back(scales_before_cast(t, kernels));
    if (t.cols % 16 == 0)
      arrays.push_back(
          array("dequant_bf16_as_f32", io::ElementType::f32, {t.rows, t.cols}, decompressed(t, kernels)));
  }
  if (is(t, dialects::ggml::info) && t.cols % 64 == 0)
    arrays.push_back(
        array("blocks", io::ElementType::u8, {t.rows, t.cols / 64 * 36}, to_ggml_blocks(t.codes, t.scales)));
  return arrays;
}

std::vector<GoldenArray> golden_arrays(const ProducerResult& result, const Kernels& kernels) {
  std::vector<GoldenArray> arrays;
  append(result.rows, "", arrays);
  const Matrix dequant = kernels.dequantize(result.rows);
  arrays.push_back(array("dequant", io::ElementType::f32, {dequant.rows, dequant.cols}, dequant.bytes));
  if (result.columns) append(*result.columns, "col_", arrays);
  return arrays;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "(";
  for (const std::int64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + (shape.size() == 1 ? ",)" : ")");
}

}  // namespace nvfp4::cli
