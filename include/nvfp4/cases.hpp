#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nvfp4/tensor.hpp>

namespace nvfp4 {

/// One named input, built to expose differences between dialects and layers. The same on every machine.
struct Case {
  std::string name;  ///< PACK/DETAIL, such as "ties/e2m1_amax_2688"
  Matrix input;
};

/// "ties", "zeros", "subnormals", "saturation", "ragged", "nonfinite", "random", "witnesses".
std::span<const std::string_view> case_packs();

/// The cases of one pack as FP32, BF16 or FP16 (rounded to nearest even). Only "random" uses the seed.
/// Throws std::invalid_argument for an unknown pack.
std::vector<Case> make_cases(std::string_view pack, Dtype, std::uint64_t seed);

}  // namespace nvfp4
