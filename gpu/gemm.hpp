#pragma once
#include "emulated_gemm.hpp"

namespace nvfp4::gpu {

/// A product of two NVFP4 operands, the accumulator that of sm100_nvfp4.
struct Gemm {
  CodedOperand a, b;
  void* d = nullptr;             ///< a.rows x b.rows
  Dtype out = Dtype::fp32;       ///< or bf16
  const float* alpha = nullptr;  ///< one float on the device; null: 1
  StepCounts* counts = nullptr;  ///< on the device, added to by emulation; null: none
};

enum class Engine : std::uint8_t {
  native,    ///< this GPU's FP4 tensor cores where there is a kernel for them and this shape, else emulated
  emulated,  ///< its wgmma on compute capability 9.0, for what that leaves and elsewhere mma.sync
  mma_sync,  ///< that alone
};

/// Bytes of the workspace of gemm(), by any engine; it must be 256-aligned.
std::int64_t gemm_bytes(std::int64_t m, std::int64_t n, std::int64_t k);

/// Throws std::invalid_argument where sizes do not fit or are below 1.
void gemm(const Gemm&, Engine, void* workspace, Stream);

/// Whether Engine::native is no emulation here.
bool is_native(const Gemm&);

}  // namespace nvfp4::gpu
