#pragma once
#include <cstdint>

#include "emulated_gemm.hpp"
#include "stream.hpp"

namespace nvfp4::gpu {

/// Bytes of the workspace of chain_gemm_sm90(); it must be 256-aligned.
std::int64_t chain_gemm_bytes(std::int64_t m, std::int64_t n);

/// emulated_gemm() by wgmma, for devices of compute capability 9.0 only: of those tiles of 256 x 256 outputs whose steps
/// add up exactly in one FP32 number (chain) or in two (split). The others' tiles are listed in the workspace, on the
/// device: give the list to emulated_gemm() on the same stream, with the same operands and output. A tile is listed after
/// the multiplication too, if its sums came out too large for the split; the counts then have it twice.
/// Throws std::invalid_argument where sizes do not fit or the product has a tile list itself.
TileList chain_gemm_sm90(const EmulatedGemm&, void* workspace, Stream);

}  // namespace nvfp4::gpu
