#pragma once
#include <nvfp4/stochastic.hpp>

namespace nvfp4::cpu {

/// As in Kernels.
void encode_stochastic(std::span<const float> values, std::span<const std::uint32_t> random,
                       const StochasticEncoding&, std::span<std::uint32_t> codes);

}  // namespace nvfp4::cpu
