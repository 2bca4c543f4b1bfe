#pragma once
#include <nvfp4/hadamard.hpp>
#include <nvfp4/tensor.hpp>

#include "isa/isa.hpp"

namespace nvfp4::cpu {

/// As in Kernels.
Matrix hadamard(const isa::Table&, MatrixView, const Hadamard&);

}  // namespace nvfp4::cpu
