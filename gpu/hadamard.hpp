#pragma once
#include <cstdint>

#include <nvfp4/hadamard.hpp>
#include <nvfp4/tensor.hpp>

#include "stream.hpp"

namespace nvfp4::gpu {

/// Kernels::hadamard of a matrix in device memory. out: rows x cols in x's element type, or FP32 where the transform is not
/// rounded; it must not be x. Throws std::invalid_argument where validate() does.
void hadamard(MatrixView x, const Hadamard&, void* out, Stream);

}  // namespace nvfp4::gpu
