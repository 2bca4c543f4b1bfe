#pragma once
#include <cstdint>

#include <nvfp4/quantize.hpp>

#include "expand.hpp"
#include "stream.hpp"

namespace nvfp4::gpu {

/// Tiles of 128 x 128 outputs, row after row of tiles; list and count lie on the device.
struct TileList {
  const std::uint32_t *tiles, *count;
};

/// Steps of 64 columns of K over 64 x 64 outputs, by how they were computed. To be zeroed by the caller.
struct StepCounts {
  unsigned long long chain, split, literal;
};

/// D = alpha * (A * transpose(B)), the accumulator that of sm100_nvfp4, the product rounded to FP32 and then to the
/// output's type; every NaN is 0x7FFFFFFF, in BF16 0x7FFF. D is a.rows x b.rows, dense.
struct EmulatedGemm {
  ExpandedOperand a, b;
  void* d = nullptr;
  Dtype out = Dtype::fp32;          ///< or bf16
  const float* alpha = nullptr;     ///< one float on the device; null: 1
  StepCounts* counts = nullptr;     ///< on the device, added to; null: none
  const TileList* tiles = nullptr;  ///< only these; null: all
};

/// By mma.sync, on sm_80 and later. Throws std::invalid_argument where sizes do not fit.
void emulated_gemm(const EmulatedGemm&, Stream);

}  // namespace nvfp4::gpu
