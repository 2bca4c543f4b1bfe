#pragma once
#include <nvfp4/eden.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4::reference {

/// As in Kernels.
BlockScaledTensor quantize_eden(MatrixView, const Eden&, BlockScaledTensor reuse);

}  // namespace nvfp4::reference
