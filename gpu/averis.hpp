#pragma once
#include <nvfp4/tensor.hpp>

#include "stream.hpp"

namespace nvfp4::gpu {

/// Scheme averis' split of x, tokens x channels: mean, 1 x channels, and x - mean, tokens x channels, both of x's element
/// type and each rounded once from FP32. A channel's sum is a chain of FP32 additions, the first token first. NaN is the
/// GPU's, all ones. x is read twice; the residual may be x itself. Pointers are the device's.
void split_mean(MatrixView x, void* mean, void* residual, Stream);

}  // namespace nvfp4::gpu
