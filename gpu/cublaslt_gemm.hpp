#pragma once
#include <string>

#include "native_gemm.hpp"

namespace nvfp4::gpu {

/// Bytes: cuBLASLt's own 32 MiB, after a zero for beta.
constexpr std::size_t cublaslt_workspace = (std::size_t{32} << 20) + 256;

/// Whether this build knows cublasLt.h and this machine has the library, which is loaded when first asked for.
bool cublaslt_available();

/// NativeKernel::cublaslt, by the first algorithm that its heuristic offers without a reduction over K. Throws
/// std::runtime_error where there is no library or no algorithm.
void cublaslt_gemm(const NativeGemm&, void* workspace, Stream);

/// The library's version and that algorithm: what a comparison of bits must name.
std::string cublaslt_algorithm(const NativeGemm&);

}  // namespace nvfp4::gpu
