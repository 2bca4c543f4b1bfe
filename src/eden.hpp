#pragma once
#include <nvfp4/eden.hpp>
#include <nvfp4/tensor.hpp>

#include "isa/isa.hpp"

namespace nvfp4::cpu {

/// As in Kernels.
BlockScaledTensor quantize_eden(const isa::Table&, MatrixView, const Eden&, BlockScaledTensor reuse);

}  // namespace nvfp4::cpu
