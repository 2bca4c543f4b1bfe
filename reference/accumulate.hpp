#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <nvfp4/accumulation.hpp>
#include <nvfp4/mma.hpp>
#include <nvfp4/tensor.hpp>

#include "factor.hpp"

namespace nvfp4::reference {

/// As in Kernels.
Matrix multiply(const BlockScaledTensor& a, const BlockScaledTensor& b, const Accumulation&, Matrix reuse);
Matrix multiply_dense(MatrixView a, MatrixView b, const Accumulation&);
/// The chain of aligned steps over whole steps of products, from the accumulator's code c.
std::uint64_t aligned(std::span<const Product> products, std::uint64_t c, const Accumulation&);
std::vector<std::uint64_t> mma(const MmaOperands&, const Accumulation&, bool every_step);

}  // namespace nvfp4::reference
