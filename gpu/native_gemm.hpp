#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <nvfp4/layout.hpp>
#include <nvfp4/quantize.hpp>

#include "stream.hpp"

namespace nvfp4::gpu {

/// D = alpha * A * transpose(B): A is M x K and B N x K of E2M1 codes, two a byte, the even column in the low nibble;
/// a UE4M3 scale for each 16 along K; D is M x N, row-major and dense. All pointers are the device's.
struct NativeGemm {
  std::int64_t m = 0, n = 0, k = 0;
  const std::uint8_t *a = nullptr, *b = nullptr;                // rows of k / 2 bytes, aligned to 16
  const std::uint8_t *a_scales = nullptr, *b_scales = nullptr;  // aligned to 16; padding along K is 0
  ScaleLayout layout = ScaleLayout::tiled_128x4;
  const float* alpha = nullptr;  // one float; null is 1
  void* d = nullptr;             // aligned to 16
  Dtype out = Dtype::fp32;
};

/// Who multiplies. All of them chain K in ascending steps of 64, as `sm100_nvfp4` does, and round alpha * acc once to
/// FP32 and once to the output's type; of cuBLASLt that holds only where its algorithm neither splits K nor takes 96.
enum class NativeKernel : std::uint8_t {
  none,      ///< this device has no FP4 tensor cores, or no kernel takes this shape: emulate
  sm100,     ///< tcgen05, compute capability 10.0 and 10.3: K % 32 == 0, 128x4 scales
  sm120,     ///< mma.sync, compute capability 12.0 and 12.1: K % 32 == 0; linear scales need K % 64 == 0
  cublaslt,  ///< only on demand: K % 32 == 0, 128x4 scales, rows of D of whole 16 bytes
};
std::string_view name(NativeKernel);

/// Our kernel for the current device; never cublaslt.
NativeKernel native_kernel(const NativeGemm&);

/// Whether this kernel takes such a GEMM on a device of this compute capability, such as 103.
bool takes(NativeKernel, const NativeGemm&, int capability);

/// Bytes of workspace, aligned to 256, that this kernel wants; 0 for ours.
std::size_t native_gemm_workspace(NativeKernel);

/// Launches the GEMM; allocates nothing and waits for nothing (the first of cuBLASLt on a device makes its handle).
/// Throws std::invalid_argument where the kernel does not take it (NativeKernel::none takes nothing) or a pointer is
/// misaligned, std::runtime_error where CUDA or cuBLASLt fails.
void native_gemm(NativeKernel, const NativeGemm&, void* workspace, Stream);

}  // namespace nvfp4::gpu
