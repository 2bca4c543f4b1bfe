#pragma once
#include <nvfp4/accumulation.hpp>
#include <nvfp4/tensor.hpp>

#include "isa/isa.hpp"

namespace nvfp4::cpu {

/// Whether tiled_product() covers this model and these scales: groups of 16 in steps of 64, E8M0 scales far from the
/// ends of FP32.
bool has_tiles(const Accumulation&, const BlockScaledTensor& a, const BlockScaledTensor& b);

/// Kernels::multiply into `out`, each tile in the fastest way that is exact for it.
Matrix tiled_product(const isa::Table&, const BlockScaledTensor& a, const BlockScaledTensor& b,
                     const Accumulation&, Matrix out);

}  // namespace nvfp4::cpu
