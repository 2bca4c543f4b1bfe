#pragma once
#include <cstdint>
#include <string>

#include <nvfp4/explain.hpp>

namespace nvfp4 {

RoundingStory rounding_story(float value, Format, std::uint32_t code);

/// Sign, exponent and mantissa: "0 10 1".
std::string bit_fields(std::uint32_t code, Format);

}  // namespace nvfp4
