#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <nvfp4/formats.hpp>

/// Conversions between FP32 and the formats, defined by exact values (reference/README.md, "Formats").
namespace nvfp4::reference {

/// Every FP32 pattern from `first` up to the next step's `first` has this code.
struct Step {
  std::uint32_t first;
  std::uint32_t code;
};

/// The definition of an encoding: all 2^32 FP32 patterns in order, `first` strictly ascending from 0.
std::vector<Step> staircase(const Encoding&);

std::uint32_t encode(float value, const Encoding&);
float decode(std::uint32_t code, Format);

/// As in Kernels; both spans have one length.
void encode(std::span<const float> values, const Encoding&, std::span<std::uint32_t> codes);
void decode(std::span<const std::uint32_t> codes, Format, std::span<float> values);

}  // namespace nvfp4::reference
