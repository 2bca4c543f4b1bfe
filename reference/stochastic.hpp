#pragma once
#include <nvfp4/stochastic.hpp>

#include "number.hpp"

/// Stochastic rounding, by the neighbours of a value (reference/README.md, "Stochastic rounding").
namespace nvfp4::reference {

/// As in Kernels.
void encode_stochastic(std::span<const float> values, std::span<const std::uint32_t> random,
                       const StochasticEncoding&, std::span<std::uint32_t> codes);

/// The two rules by which dialects round, 8 bits.
Code e2m1_carry(Number y, Code random);
Code e2m1_te_software(Number y, Code random);

}  // namespace nvfp4::reference
