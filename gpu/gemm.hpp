#pragma once
#include "emulated_gemm.hpp"

namespace nvfp4::gpu {

/// A product of two NVFP4 operands as sm100_nvfp4 has it, on a GPU that has no FP4.
struct Gemm {
  CodedOperand a, b;
  void* d = nullptr;             ///< a.rows x b.rows
  Dtype out = Dtype::fp32;       ///< or bf16
  const float* alpha = nullptr;  ///< one float on the device; null: 1
  StepCounts* counts = nullptr;  ///< on the device, added to; null: none
};

/// Bytes of the workspace of gemm(); it must be 256-aligned.
std::int64_t gemm_bytes(std::int64_t m, std::int64_t n, std::int64_t k);

/// expand() of both, then on compute capability 9.0 chain_gemm_sm90(), and emulated_gemm() for what that leaves; else, or
/// where `portable`, emulated_gemm() alone. Throws as they do.
void gemm(const Gemm&, void* workspace, Stream, bool portable = false);

}  // namespace nvfp4::gpu
