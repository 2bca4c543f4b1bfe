#pragma once
#include "native_gemm.hpp"

namespace nvfp4::gpu {

/// NativeKernel::sm120, of a GEMM that it takes.
void native_gemm_sm120(const NativeGemm&, Stream);

}  // namespace nvfp4::gpu
