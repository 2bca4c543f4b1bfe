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
    arrays.push_back(array(prefix + "global", io::ElementType::f32,
                           {static_cast<std::int64_t>(t.global.size())}, t.global));
}

}  // namespace

std::vector<GoldenArray> golden_arrays(const ProducerResult& result, const Kernels& kernels) {
  std::vector<GoldenArray> arrays;
  append(result.rows, "", arrays);
  const Matrix dequant = kernels.dequantize(result.rows);
  arrays.push_back(array("dequant", io::ElementType::f32, {dequant.rows, dequant.cols}, dequant.bytes));
  if (result.columns) append(*result.columns, "col_", arrays);
  return arrays;
}

GoldenArray swizzled_scales(const BlockScaledTensor& t) {
  const ScaleExtent extent = padded(ScaleLayout::tiled_128x4, t.rows, t.blocks_per_row());
  return array("scales_swizzled", io::ElementType::u8, {extent.rows, extent.cols},
               to_layout(ScaleLayout::tiled_128x4, t.scales, t.rows, t.blocks_per_row()));
}

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "(";
  for (const std::int64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + (shape.size() == 1 ? ",)" : ")");
}

}  // namespace nvfp4::cli
