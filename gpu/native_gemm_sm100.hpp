#pragma once
#include "native_gemm.hpp"

namespace nvfp4::gpu {

/// NativeKernel::sm100, of a GEMM that it takes. Throws std::runtime_error where the driver is too old for TMA.
void native_gemm_sm100(const NativeGemm&, Stream);

}  // namespace nvfp4::gpu
