#include "golden_compare.hpp"

#include <bit>
#include <cmath>
#include <cstring>

namespace nvfp4::cli {
namespace {

constexpr bool is_nan_scale(std::uint8_t scale) { return (scale & 0x7F) == 0x7F; }
constexpr bool is_zero_scale(std::uint8_t scale) { return (scale & 0x7F) == 0; }
constexpr bool is_zero_code(int code) { return (code & 7) == 0; }

void count(ArrayDifference& difference, std::size_t index, std::int64_t bytes) {
  if (!difference.first) difference.first = static_cast<std::int64_t>(index);
  difference.bytes += bytes;
}

std::uint32_t word_at(std::span<const std::byte> bytes, std::size_t i) {
  std::uint32_t word;
  std::memcpy(&word, bytes.data() + 4 * i, 4);
  return word;
}

/// Whether one nibble's difference is inert; counts it if so.
bool is_inert(int expected, int actual, bool zero_scale, InertDifferences& inert) {
  if (zero_scale) return ++inert.codes_under_zero_scale, true;
  if (is_zero_code(expected) && is_zero_code(actual)) return ++inert.minus_zero, true;
  return false;
}

}  // namespace

std::int64_t differing_bytes(std::uint64_t a, std::uint64_t b) {
  std::int64_t count = 0;
  for (std::uint64_t changed = a ^ b; changed; changed >>= 8) count += (changed & 0xFF) != 0;
  return count;
}

ArrayDifference compare_bytes(std::span<const std::uint8_t> expected, std::span<const std::uint8_t> actual) {
  ArrayDifference difference;
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (expected[i] != actual[i]) count(difference, i, 1);
  return difference;
}

ArrayDifference compare_scales(std::span<const std::uint8_t> expected, std::span<const std::uint8_t> actual) {
  ArrayDifference difference;
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (expected[i] != actual[i] && !(is_nan_scale(expected[i]) && is_nan_scale(actual[i])))
      count(difference, i, 1);
  return difference;
}

ArrayDifference compare_floats(std::span<const std::byte> expected, std::span<const std::byte> actual,
                               CompareMode mode) {
  ArrayDifference difference;
  for (std::size_t i = 0; i < expected.size() / 4; ++i) {
    const std::uint32_t e = word_at(expected, i), a = word_at(actual, i);
    const float e_value = std::bit_cast<float>(e), a_value = std::bit_cast<float>(a);
    if (e == a || (std::isnan(e_value) && std::isnan(a_value))) continue;
    if (mode == CompareMode::values && e_value == 0 && a_value == 0)
      ++difference.inert.minus_zero;
    else
      count(difference, i, differing_bytes(e, a));
  }
  return difference;
}

ArrayDifference compare_codes(Codes expected, Codes actual, CompareMode mode, bool nan_codes_vary) {
  ArrayDifference difference;
  for (std::size_t i = 0; i < expected.packed.size(); ++i) {
    const int e = expected.packed[i], a = actual.packed[i];
    const std::uint8_t e_scale = expected.scales[i / expected.block_bytes],
                       a_scale = actual.scales[i / expected.block_bytes];
    bool differs = e != a && !(nan_codes_vary && is_nan_scale(e_scale) && is_nan_scale(a_scale));
    if (differs && mode == CompareMode::values) {
      const bool zero = is_zero_scale(e_scale) && is_zero_scale(a_scale);
      differs = false;
      for (const int shift : {0, 4}) {
        const int e_code = e >> shift & 15, a_code = a >> shift & 15;
        if (e_code != a_code && !is_inert(e_code, a_code, zero, difference.inert)) differs = true;
      }
    }
    if (differs) count(difference, i, 1);
  }
  return difference;
}

}  // namespace nvfp4::cli
