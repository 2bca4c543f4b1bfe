#pragma once

namespace nvfp4::gpu {

/// 10 * major + minor of the current device. Throws std::runtime_error where there is none.
int capability();

/// Throws std::runtime_error that says why where the current device cannot run this layer.
void require_device();

/// Throws std::invalid_argument on a GPU before compute capability 9.0: `mma` of BF16 is HadamardSum::tensor_core from
/// there on; earlier ones keep a bit less and take eight products a step (sm80_bf16 in nvfp4/accumulation.hpp).
void require_tensor_core_sum();

}  // namespace nvfp4::gpu
