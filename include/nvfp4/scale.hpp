#pragma once
#include <cstdint>
#include <string_view>

namespace nvfp4 {

/// A second-level scale that multiplies on the way in (2688 / amax). Never a bare float: an inverted
/// tensor scale is the ecosystem's commonest bug.
struct EncodeScale {
  float value;
};

/// A second-level scale that multiplies on the way out (amax / 2688).
struct DecodeScale {
  float value;
};

/// How a producer keeps its second-level scale in memory and in files.
enum class GlobalIs : std::uint8_t {
  amax,      ///< the tensor amax itself; the divisor stands beside it
  multiply,  ///< a DecodeScale
  divide,    ///< an EncodeScale
  none,      ///< single-level
};

constexpr std::string_view name(GlobalIs kind) {
  switch (kind) {
    case GlobalIs::amax: return "amax";
    case GlobalIs::multiply: return "multiply";
    case GlobalIs::divide: return "divide";
    case GlobalIs::none: return "none";
  }
  return "none";
}

}  // namespace nvfp4
