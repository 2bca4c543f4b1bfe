#include <nvfp4/compare.hpp>

#include <bit>
#include <cstdio>
#include <cstring>

namespace nvfp4 {
namespace {

/// Compares two byte arrays of one size as rows of `row_items` items of `item` bytes.
void compare_items(const void* expected, const void* actual, std::int64_t items, std::int64_t row_items,
                   std::size_t item, const std::string& array, Difference& result) {
  const auto* e = static_cast<const std::uint8_t*>(expected);
  const auto* a = static_cast<const std::uint8_t*>(actual);
  for (std::int64_t i = 0; i < items; ++i, e += item, a += item) {
    if (std::memcmp(e, a, item) == 0) continue;
    for (std::size_t byte = 0; byte < item; ++byte) result.bytes += e[byte] != a[byte];
    if (result.first) continue;
    Mismatch& first = result.first.emplace(Mismatch{array, i / row_items, i % row_items});
    std::memcpy(&first.expected, e, item);
    std::memcpy(&first.actual, a, item);
  }
}

Difference shape_mismatch(std::uint32_t expected, std::uint32_t actual, std::string what) {
  return {1, Mismatch{std::move(what), 0, 0, expected, actual}};
}

template <class T>
void compare_arrays(const std::vector<T>& expected, const std::vector<T>& actual, std::int64_t row_items,
                    std::string array, Difference& result) {
  if (expected.size() != actual.size())
    result = shape_mismatch(static_cast<std::uint32_t>(expected.size()),
                            static_cast<std::uint32_t>(actual.size()), array + " size");
  else
    compare_items(expected.data(), actual.data(), static_cast<std::int64_t>(expected.size()), row_items,
                  sizeof(T), array, result);
}

}  // namespace

Difference compare(const BlockScaledTensor& expected, const BlockScaledTensor& actual) {
  if (expected.rows != actual.rows || expected.cols != actual.cols)
    return shape_mismatch(static_cast<std::uint32_t>(expected.cols), static_cast<std::uint32_t>(actual.cols),
                          "shape");
  Difference result;
  compare_arrays(expected.global, actual.global, expected.globals_per_row(), "global", result);
  compare_arrays(expected.scales, actual.scales, expected.blocks_per_row(), "scales", result);
  compare_arrays(expected.codes, actual.codes, expected.row_bytes(), "packed", result);
  return result;
}

Difference compare(MatrixView expected, MatrixView actual, std::string array) {
  if (expected.rows != actual.rows || expected.cols != actual.cols || expected.dtype != actual.dtype)
    return shape_mismatch(static_cast<std::uint32_t>(expected.cols), static_cast<std::uint32_t>(actual.cols),
                          array + " shape");
  Difference result;
  compare_items(expected.data, actual.data, expected.rows * expected.cols, expected.cols,
                size_of(expected.dtype), array, result);
  return result;
}

std::string describe(const Mismatch& m) {
  char line[160];
  const bool is_float = m.array == "global" || m.array.starts_with("dequant");
  if (is_float)
    std::snprintf(line, sizeof line, "%s[%lld, %lld]: expected 0x%08X (%.9g), found 0x%08X (%.9g)",
                  m.array.c_str(), static_cast<long long>(m.row), static_cast<long long>(m.col), m.expected,
                  std::bit_cast<float>(m.expected), m.actual, std::bit_cast<float>(m.actual));
  else
    std::snprintf(line, sizeof line, "%s[%lld, %lld]: expected 0x%02X, found 0x%02X", m.array.c_str(),
                  static_cast<long long>(m.row), static_cast<long long>(m.col), m.expected, m.actual);
  return line;
}

}  // namespace nvfp4
