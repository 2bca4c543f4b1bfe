#pragma once
#include <nvfp4/tensor.hpp>

#include "stream.hpp"

/// The largest |x| as steps of their own, one FP32 number in device memory: of a tensor that is spread over devices,
/// the maximum of theirs is the whole one's. A NaN is dropped.
namespace nvfp4::gpu {

/// Of FP32, BF16 or FP16: Kernels::amax of a dialect that drops NaN.
void tensor_amax(MatrixView x, float* amax, Stream);

/// Of each row: x.rows numbers.
void row_amaxes(MatrixView x, float* amaxes, Stream);

/// amax = tensor_amax; transformed = that of hadamard() of 16 along tokens with these signs, sum tensor_core, rounded:
/// what te_rht_fused takes for rows and columns. BF16, rows a multiple of 16. The sum is this GPU's own
/// mma.m16n8k16. Throws std::invalid_argument for another type or shape, and where require_tensor_core_sum() does.
void transformed_amax(MatrixView x, std::uint32_t sign_mask, float* amax, float* transformed, Stream);

}  // namespace nvfp4::gpu
