#include <nvfp4/diff.hpp>

#include <cstdlib>
#include <span>

#include <nvfp4/testing.hpp>

namespace nvfp4 {
namespace {

std::string text_of(const std::vector<Diagnosis>& causes) {
  std::string text;
  for (const Diagnosis& cause : causes) text += cause.code + ": " + cause.text + '\n';
  return text;
}

bool comparable(const BlockScaledTensor& a, const BlockScaledTensor& b) {
  return a.rows == b.rows && a.cols == b.cols && a.codes.size() == b.codes.size() &&
         a.scales.size() == b.scales.size() && (b.global.empty() || a.global.size() == b.global.size());
}

std::string extent(const BlockScaledTensor& t) {
  return std::to_string(t.rows) + " x " + std::to_string(t.cols) + ", " + std::to_string(t.scales.size()) +
         " scales, " + std::to_string(t.global.size()) + " tensor scales";
}

/// Sizes part before bytes do: all that the second has counts.
DiffReport other_size(const BlockScaledTensor& a, const BlockScaledTensor& b, MatrixView x) {
  DiffReport d{static_cast<std::int64_t>(b.codes.size() + b.scales.size() + 4 * b.global.size()),
               b.rows * b.cols};
  d.diagnosis = diagnose(a, {b}, x);
  d.text = "sizes: expected " + extent(a) + ", found " + extent(b) + '\n' + text_of(d.diagnosis);
  return d;
}

/// `scales`: b's as they were stored, where they are not the linear ones.
DiffReport compared(const BlockScaledTensor& a, const BlockScaledTensor& b,
                    std::span<const std::uint8_t> scales, ScaleLayout layout, MatrixView x) {
  const bool fits = scales.size() == b.scales.size() || scales.empty() || layout != ScaleLayout::linear;
  const testing::Result arrays{
      .codes = b.codes,
      .scales = layout == ScaleLayout::linear ? std::span<const std::uint8_t>(b.scales) : scales,
      .global = b.global,
      .layout = layout};
  const testing::Report report = testing::compare(arrays, a, x);
  DiffReport d{report.differing_bytes, report.differing_values};
  if (!fits)
    d.differing_bytes +=
        std::abs(static_cast<std::int64_t>(scales.size()) - static_cast<std::int64_t>(b.scales.size()));
  if (d.equal()) return d;
  d.first = compare(a, b).first;
  d.diagnosis = diagnose(a, {b, scales, layout}, x);  // by b's own record, which the report has not
  d.text = report.message.substr(0, report.message.find("suspected cause")) + text_of(d.diagnosis);
  return d;
}

}  // namespace

DiffReport diff(const StoredResult& a, const StoredResult& b, MatrixView x) {
  if (!comparable(a.tensor, b.tensor)) return other_size(a.tensor, b.tensor, x);
  DiffReport d = compared(a.tensor, b.tensor, b.scales, ScaleLayout::linear, x);
  if (d.equal() && a.layout != ScaleLayout::linear && a.swizzled.size() == b.swizzled.size())
    d = compared(a.tensor, b.tensor, b.swizzled, a.layout, x);
  if (d.equal() && a.columns && b.columns && comparable(*a.columns, *b.columns)) {
    const Matrix transposed = x.data ? transpose(x) : Matrix{};
    d = compared(*a.columns, *b.columns, {}, ScaleLayout::linear, x.data ? transposed.view() : x);
    if (!d.equal()) d.text = "the rows are equal; of the columns:\n" + d.text;
  }
  return d;
}

}  // namespace nvfp4
