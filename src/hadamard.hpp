#pragma once
#include <nvfp4/hadamard.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4::cpu {

/// As in Kernels.
Matrix hadamard(MatrixView, const Hadamard&);

}  // namespace nvfp4::cpu
