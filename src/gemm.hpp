#pragma once
#include <nvfp4/gemm.hpp>

namespace nvfp4::cpu {

/// Throws std::invalid_argument where bias, C or cuts do not fit the operands.
void validate(const GemmSpec&, const BlockScaledTensor& a, const BlockScaledTensor& b);

}  // namespace nvfp4::cpu
