#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "golden_file.hpp"

namespace nvfp4::cli {

/// values: the two named differences below decode to the same number and are counted apart.
enum class CompareMode { bytes, values };

struct InertDifferences {
  std::int64_t codes_under_zero_scale = 0;  ///< nibbles
  std::int64_t minus_zero = 0;              ///< nibbles or FP32 values: -0 for +0
};

struct ArrayDifference {
  std::int64_t bytes = 0;
  InertDifferences inert;
  std::optional<std::int64_t> first;  ///< index of the first element that differs
};

/// Of two codes.
std::int64_t differing_bytes(std::uint64_t a, std::uint64_t b);

ArrayDifference compare_bytes(std::span<const std::uint8_t> expected, std::span<const std::uint8_t> actual);

/// E4M3 bytes. NaN has no sign here: 0x7F equals 0xFF, because an x86 default NaN is negative.
ArrayDifference compare_scales(std::span<const std::uint8_t> expected, std::span<const std::uint8_t> actual);

/// FP32. All NaNs are equal, for the same reason; nothing else is tolerated but what `mode` names.
ArrayDifference compare_floats(std::span<const std::byte> expected, std::span<const std::byte> actual,
                               CompareMode);

/// `block_bytes` of codes a scale, two codes a byte. A code is inert where both scales are zero. Codes under two NaN
/// scales are compared unless the dialect says that they vary.
struct Codes {
  std::span<const std::uint8_t> packed, scales;
  std::size_t block_bytes = 8;
};
ArrayDifference compare_codes(Codes expected, Codes actual, CompareMode, bool nan_codes_vary);

}  // namespace nvfp4::cli
