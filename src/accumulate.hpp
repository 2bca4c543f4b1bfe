#pragma once
#include <cstdint>
#include <vector>

#include <nvfp4/accumulation.hpp>
#include <nvfp4/mma.hpp>
#include <nvfp4/tensor.hpp>

#include "isa/isa.hpp"

namespace nvfp4::cpu {

/// As in Kernels.
Matrix multiply(const isa::Table&, const BlockScaledTensor& a, const BlockScaledTensor& b,
                const Accumulation&, Matrix reuse);
Matrix multiply_dense(const isa::Table&, MatrixView a, MatrixView b, const Accumulation&);
std::vector<std::uint64_t> mma(const MmaOperands&, const Accumulation&, bool every_step);

}  // namespace nvfp4::cpu
