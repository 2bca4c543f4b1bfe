#pragma once
#include <cstdint>
#include <string>

#include <nvfp4/tensor.hpp>

namespace nvfp4 {

enum class Rounded : std::uint8_t { element, block_scale };

/// How far the number that became an element's code, or its block's scale, was from the tie between two codes, as a
/// line. Empty where it was not rounded to nearest, and where `input` does not give the expected bits.
std::string tie_margin(const BlockScaledTensor& expected, MatrixView input, std::int64_t row,
                       std::int64_t col, Rounded);

}  // namespace nvfp4
