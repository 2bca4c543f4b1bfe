#include "case_check.hpp"

#include <algorithm>
#include <cstring>

#include <nvfp4/testing.hpp>

#include "number.hpp"
#include "profile.hpp"

namespace nvfp4::cli {
namespace {

std::span<const std::uint8_t> u8(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}

std::string describe(const io::ArrayInfo& array) {
  return std::string(io::info(array.type).numpy) + ' ' + shape_text(array.shape);
}

/// The bits of one element: a byte, or FP32.
std::uint32_t bits_at(std::span<const std::byte> bytes, io::ElementType type, std::int64_t index) {
  if (type != io::ElementType::f32) return u8(bytes)[static_cast<std::size_t>(index)];
  std::uint32_t bits;
  std::memcpy(&bits, bytes.data() + 4 * index, 4);
  return bits;
}

/// One case at work: what its file holds beside what is recomputed.
struct CaseCheck {
  MatrixView input;
  const std::vector<io::Array>& given;
  ProducerResult result;
  std::vector<GoldenArray> computed;
  CompareMode mode;
  Verdict verdict;

  const GoldenArray& computed_for(const io::Array& array) const {
    for (const GoldenArray& c : computed)
      if (c.info.name == array.info.name) {
        const bool any_shape =
            c.info.name == "scales_swizzled" && array.bytes.view().size() == c.bytes.size();
        if (array.info.type != c.info.type || (array.info.shape != c.info.shape && !any_shape))
          array.refuse(describe(c.info), describe(array.info));
        return c;
      }
    std::string names;
    for (const GoldenArray& c : computed) names += (names.empty() ? "one of " : ", ") + c.info.name;
    array.refuse(names, "an array that this producer does not make");
  }

  std::span<const std::uint8_t> our_scales(std::string_view name) const {
    for (const GoldenArray& c : computed)
      if (c.info.name == name) return u8(c.bytes);
    return {};
  }

  std::span<const std::uint8_t> their_scales(std::string_view name) const {
    for (const io::Array& array : given)
      if (array.info.name == name) return u8(array.bytes.view());
    return our_scales(name);
  }

  ArrayDifference compare(const io::Array& array, const GoldenArray& ours) const {
    const auto bytes = array.bytes.view();
    if (array.info.type == io::ElementType::f32) return compare_floats(bytes, ours.bytes, mode);
    if (array.info.name == "blocks") return compare_bytes(u8(bytes), u8(ours.bytes));
    if (!array.info.name.ends_with("packed")) return compare_scales(u8(bytes), u8(ours.bytes));
    const std::string_view scales = array.info.name == "packed" ? "scales" : "col_scales";
    const BlockScaledTensor& t = result.rows;
    const auto block_bytes = static_cast<std::size_t>(t.row_bytes() / t.blocks_per_row());
    return compare_codes({u8(bytes), their_scales(scales), block_bytes},
                         {u8(ours.bytes), our_scales(scales), block_bytes}, mode,
                         t.spec.dialect->nan_codes_vary);
  }

  void check(const io::Array& array) {
    const GoldenArray& ours = computed_for(array);
    const ArrayDifference difference = compare(array, ours);
    ++verdict.arrays;
    verdict.differing_bytes += difference.bytes;
    verdict.inert.codes_under_zero_scale += difference.inert.codes_under_zero_scale;
    verdict.inert.minus_zero += difference.inert.minus_zero;
    if (difference.first && verdict.text.empty()) explain(array, ours, *difference.first);
  }

  void explain(const io::Array& array, const GoldenArray& ours, std::int64_t index) {
    const std::int64_t cols = array.info.shape.back(), row = index / cols, col = index % cols;
    const std::uint32_t expected = bits_at(array.bytes.view(), array.info.type, index);
    const std::uint32_t actual = bits_at(ours.bytes, ours.info.type, index);
    const auto hex = array.info.type == io::ElementType::f32 ? hex32 : hex8;
    verdict.text = "case " + verdict.name + ", array " + array.info.name + " at (" + std::to_string(row) +
                   ", " + std::to_string(col) + "): the file has " + hex(expected) + ", recomputed " +
                   hex(actual);
    verdict.first = {{"case", verdict.name}, {"array", array.info.name}, {"row", row},
                     {"col", col},           {"expected", expected},     {"actual", actual}};
    const std::string command = command_for(array.info.name, expected ^ actual, row, col);
    if (!command.empty()) verdict.text += "; run: " + command;
    if (!command.empty()) verdict.first["explain"] = command;
    verdict.first["text"] = verdict.text;
  }

  /// The element that byte (row, col) of the array belongs to; -1 where it belongs to none.
  static std::int64_t element_col(std::string_view array, std::uint32_t changed, std::int64_t col,
                                  int block_cols) {
    if (array.ends_with("packed")) return 2 * col + (changed & 15 ? 0 : 1);
    if (array == "scales" || array == "col_scales") return col * block_cols;
    return array == "dequant" ? col : -1;
  }

  std::string command_for(std::string_view array, std::uint32_t changed, std::int64_t row,
                          std::int64_t col) const {
    const std::int64_t element = element_col(array, changed, col, result.rows.spec.block.cols);
    if (element < 0) return "";
    const bool of_columns = array.starts_with("col_");
    const BlockScaledTensor& t = of_columns ? *result.columns : result.rows;
    const Matrix turned = of_columns ? transpose(input) : Matrix();
    return testing::explain_command(of_columns ? turned.view() : input, t.spec, row, element);
  }
};

/// The file has results where the producer's rules refuse the input: every byte of them is too many.
Verdict refused_here(std::string name, const std::vector<io::Array>& given, const std::string& why) {
  Verdict verdict{.name = std::move(name)};
  for (const io::Array& array : given)
    verdict.differing_bytes += static_cast<std::int64_t>(array.bytes.size());
  verdict.text =
      "case " + verdict.name + ": the file has results, but this producer refuses the input: " + why;
  verdict.first = {{"case", verdict.name}, {"text", verdict.text}};
  return verdict;
}

}  // namespace

Verdict check_case(std::string name, MatrixView input, const std::vector<io::Array>& given,
                   const Producer& producer, const Kernels& kernels, CompareMode mode) {
  if (given.empty()) return {.name = std::move(name), .refused = true};
  ProducerResult result;
  try {
    result = nvfp4::quantize(producer, input, kernels);
  } catch (const std::invalid_argument& refusal) {
    return refused_here(std::move(name), given, refusal.what());
  }
  std::vector<GoldenArray> computed = golden_arrays(result, kernels);
  for (GoldenArray& array : arrays_of_some(result, kernels)) computed.push_back(std::move(array));
  const bool transformed = producer.rht && std::ranges::any_of(given, [](const io::Array& a) {
                             return a.info.name == "transformed";
                           });
  if (transformed) computed.push_back(transformed_array(producer, input, kernels));
  CaseCheck check{input, given, std::move(result), std::move(computed), mode, {.name = std::move(name)}};
  for (const io::Array& array : given) check.check(array);
  return check.verdict;
}

}  // namespace nvfp4::cli
