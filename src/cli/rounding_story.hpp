#pragma once
#include <cstdint>
#include <string>

#include <nvfp4/formats.hpp>

namespace nvfp4::cli {

/// Why a number became a code, in magnitudes: its neighbours, whether it is a tie, which way and why.
struct RoundingStory {
  float low = 0, high = 0;  ///< the neighbouring values; equal where the number is one itself, or saturates
  bool tie = false;
  std::string why;
};
RoundingStory rounding_story(float value, Format, std::uint32_t code);

/// Sign, exponent and mantissa: "0 10 1".
std::string bit_fields(std::uint32_t code, Format);

}  // namespace nvfp4::cli
