#include <nvfp4/testing.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <vector>

#include <nvfp4/kernels.hpp>

#include "same.hpp"
#include "tie_margin.hpp"

namespace nvfp4::testing {
namespace {

using Indices = std::vector<std::int64_t>;

/// What was compared: the actual arrays, on the host. One that was not given is the expected one.
struct Arrays {
  BlockScaledTensor tensor;
  std::vector<std::uint8_t> scales;  ///< as they lay in memory
  ScaleLayout layout;
};

/// Where they differ, each in the order of its array.
struct Differences {
  Indices global, scales, packed, padding, values;
  std::int64_t bytes = 0;
};

template <class T>
std::vector<T> on_host(std::span<const T> from, const CopyToHost& copy) {
  std::vector<T> host(from.size());
  if (!from.empty()) copy(host.data(), from.data(), from.size_bytes());
  return host;
}

std::size_t scale_bytes(ScaleLayout layout, const BlockScaledTensor& t) {
  const ScaleExtent extent = padded(layout, t.rows, t.blocks_per_row());
  return static_cast<std::size_t>(extent.rows * extent.cols);
}

std::string size_complaint(const char* array, std::size_t found, std::size_t expected, const char* unit) {
  if (found == expected || found == 0) return "";
  return std::string(array) + ": expected " + std::to_string(expected) + ' ' + unit + ", found " +
         std::to_string(found);
}

std::string scales_complaint(const Result& actual, const BlockScaledTensor& expected) {
  std::string text =
      size_complaint("scales", actual.scales.size(), scale_bytes(actual.layout, expected), "bytes");
  if (text.empty()) return text;
  text += ", by layout " + std::string(name(actual.layout));
  for (const ScaleLayout layout : scale_layouts())
    if (actual.scales.size() == scale_bytes(layout, expected))
      text += "; layout " + std::string(name(layout)) + " has this size";
  return text;
}

std::string complaint(const Result& actual, const BlockScaledTensor& expected) {
  for (const std::string& text :
       {size_complaint("packed", actual.codes.size(), expected.codes.size(), "bytes"),
        scales_complaint(actual, expected),
        size_complaint("global", actual.global.size(), expected.global.size(), "values")})
    if (!text.empty()) return text;
  return "";
}

Arrays fetch(const Result& actual, const BlockScaledTensor& expected) {
  Arrays a{expected, on_host(actual.scales, actual.copy), actual.layout};
  if (!actual.codes.empty()) a.tensor.codes = on_host(actual.codes, actual.copy);
  if (!actual.global.empty()) a.tensor.global = on_host(actual.global, actual.copy);
  if (!a.scales.empty())
    a.tensor.scales = from_layout(a.layout, a.scales, expected.rows, expected.blocks_per_row());
  return a;
}

bool same_code(std::uint8_t a, std::uint8_t b) { return a == b; }

template <class T, class Same>
Indices differing(std::span<const T> expected, std::span<const T> actual, Same same) {
  Indices where;
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (!same(expected[i], actual[i])) where.push_back(static_cast<std::int64_t>(i));
  return where;
}

Indices padding_not_zero(const Arrays& a) {
  const BlockScaledTensor& t = a.tensor;
  std::vector<std::uint8_t> rest = a.scales;
  for (std::int64_t r = 0; r < t.rows && !rest.empty(); ++r)
    for (std::int64_t c = 0; c < t.blocks_per_row(); ++c)
      rest[static_cast<std::size_t>(offset(a.layout, r, c, t.blocks_per_row()))] = 0;
  return differing<std::uint8_t>(std::vector<std::uint8_t>(rest.size()), rest, same_code);
}

std::span<const float> values(const Matrix& m) {
  return {m.f32(), static_cast<std::size_t>(m.rows * m.cols)};
}

std::int64_t differing_bytes(float a, float b) {
  std::int64_t count = 0;
  for (std::uint32_t changed = std::bit_cast<std::uint32_t>(a) ^ std::bit_cast<std::uint32_t>(b); changed;
       changed >>= 8)
    count += (changed & 0xFF) != 0;
  return count;
}

Differences differences(const Arrays& a, const BlockScaledTensor& e, Padding padding, const Matrix& e_values,
                        const Matrix& a_values) {
  Differences d;
  d.global = differing<float>(e.global, a.tensor.global, same_bits);
  d.scales = differing<std::uint8_t>(e.scales, a.tensor.scales, [&](std::uint8_t x, std::uint8_t y) {
    return same_scale(x, y, *e.spec.dialect);
  });
  d.packed = differing<std::uint8_t>(e.codes, a.tensor.codes, same_code);
  if (padding == Padding::zero) d.padding = padding_not_zero(a);
  d.values = differing(values(e_values), values(a_values), same_value);
  d.bytes = static_cast<std::int64_t>(d.scales.size() + d.packed.size() + d.padding.size());
  for (const auto i : d.global) d.bytes += differing_bytes(e.global[i], a.tensor.global[i]);
  return d;
}

std::string hex(std::uint32_t bits, int digits) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%0*X", digits, bits);
  return text;
}

std::string number(float value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", static_cast<double>(value));
  return text;
}

std::string at(std::int64_t row, std::int64_t col) {
  return "(" + std::to_string(row) + ", " + std::to_string(col) + ")";
}

std::string both(const std::string& expected, const std::string& actual) {
  return ": expected " + expected + ", actual " + actual;
}

std::string counts(const Differences& d, const BlockScaledTensor& e) {
  const auto part = [](const char* array, const Indices& where, std::size_t of) {
    return std::string(array) + " " + std::to_string(where.size()) + " of " + std::to_string(of);
  };
  return std::to_string(d.bytes) + " bytes differ: " + part("packed", d.packed, e.codes.size()) + ", " +
         part("scales", d.scales, e.scales.size()) + ", " + part("global", d.global, e.global.size()) +
         ", padding " + std::to_string(d.padding.size()) + "; " +
         part("values", d.values, static_cast<std::size_t>(e.rows * e.cols)) + '\n';
}

/// The first difference, of the array that can have caused the others.
struct First {
  std::string array;
  std::int64_t row, col;         ///< in that array
  std::int64_t element;          ///< column of the element it belongs to
  std::string expected, actual;  ///< bits
};

First first_element(const Differences& d, const Arrays& a, const BlockScaledTensor& e) {
  if (!d.scales.empty()) {
    const std::int64_t i = d.scales[0], row = i / e.blocks_per_row(), col = i % e.blocks_per_row();
    return {"scales", row, col, col * e.spec.block.cols, hex(e.scales[i], 2), hex(a.tensor.scales[i], 2)};
  }
  const std::int64_t i = d.packed[0], row = i / e.row_bytes(), col = i % e.row_bytes();
  const bool low = (e.codes[i] ^ a.tensor.codes[i]) & 15;
  return {"packed", row, col, 2 * col + !low, hex(e.codes[i], 2), hex(a.tensor.codes[i], 2)};
}

std::string first_global(std::int64_t i, const Arrays& a, const BlockScaledTensor& e) {
  const auto text = [](float f) { return hex(std::bit_cast<std::uint32_t>(f), 8) + " = " + number(f); };
  return "first: global (" + std::to_string(i) + ")" + both(text(e.global[i]), text(a.tensor.global[i])) +
         '\n';
}

std::string first_padding(std::int64_t i, const Arrays& a) {
  return "first: padding byte " + std::to_string(i) + " of the scales, layout " +
         std::string(name(a.layout)) + both("0x00", hex(a.scales[i], 2)) + '\n';
}

std::string first_text(const Differences& d, const Arrays& a, const BlockScaledTensor& e,
                       const Matrix& e_values, const Matrix& a_values, MatrixView input) {
  if (!d.global.empty()) return first_global(d.global[0], a, e);
  if (d.scales.empty() && d.packed.empty()) return first_padding(d.padding[0], a);
  const First f = first_element(d, a, e);
  std::string text = "first: " + f.array + " " + at(f.row, f.col) + ", block " +
                     at(f.row / e.spec.block.rows, f.element / e.spec.block.cols) +
                     both(f.expected, f.actual) + '\n';
  if (f.element < e.cols) {
    const std::int64_t i = f.row * e.cols + f.element;
    text += "element " + at(f.row, f.element) + ", lane " + std::to_string(f.element % e.spec.block.cols) +
            both(number(e_values.f32()[i]), number(a_values.f32()[i])) + '\n';
  }
  if (input.data)
    text +=
        tie_margin(e, input, f.row, f.element, d.scales.empty() ? Rounded::element : Rounded::block_scale);
  if (input.data) text += "run: " + explain_command(input, e.spec, f.row, f.element) + '\n';
  return text;
}

}  // namespace

void copy_from_host(void* host, const void* from, std::size_t size) { std::memcpy(host, from, size); }

Report compare(const Result& actual, const BlockScaledTensor& expected, MatrixView input) {
  if (input.data && (input.rows != expected.rows || input.cols != expected.cols))
    throw std::invalid_argument("input: expected shape " + at(expected.rows, expected.cols) + ", found " +
                                at(input.rows, input.cols));
  if (const std::string text = complaint(actual, expected); !text.empty()) return {.message = text + '\n'};
  const Arrays a = fetch(actual, expected);
  const Matrix e_values = cpu_kernels().dequantize(expected), a_values = cpu_kernels().dequantize(a.tensor);
  const Differences d = differences(a, expected, actual.padding, e_values, a_values);
  Report report{d.bytes, static_cast<std::int64_t>(d.values.size()), ""};
  if (d.bytes == 0) return report;
  report.message = counts(d, expected) + first_text(d, a, expected, e_values, a_values, input);
  report.diagnosis = diagnose(expected, {a.tensor, a.scales, a.layout}, input);
  for (const Diagnosis& suspect : report.diagnosis)
    report.message += "suspected cause: " + suspect.code + ": " + suspect.text + '\n';
  return report;
}

Report compare(const BlockScaledTensor& actual, const BlockScaledTensor& expected, MatrixView input) {
  if (actual.rows != expected.rows || actual.cols != expected.cols)
    return {.message = "shape: expected " + at(expected.rows, expected.cols) + ", found " +
                       at(actual.rows, actual.cols) + '\n'};
  return compare(Result{.codes = actual.codes, .scales = actual.scales, .global = actual.global}, expected,
                 input);
}

}  // namespace nvfp4::testing
