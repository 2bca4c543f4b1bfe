#pragma once
#include <nvfp4/gemm.hpp>

namespace nvfp4::reference {

/// As in Kernels.
Matrix scale_output(Matrix accumulator, const OutputScaling&);
Matrix add_output(Matrix y, float factor, MatrixView x);

}  // namespace nvfp4::reference
