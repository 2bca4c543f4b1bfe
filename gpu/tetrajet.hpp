#pragma once
#include <nvfp4/quantize.hpp>
#include <nvfp4/tensor.hpp>

#include "quantize.hpp"
#include "stream.hpp"

namespace nvfp4::gpu {

/// Kernels::quantize, or quantize_transposed, by TetraJet-v2's dialects, whose double block is a scale for 128 columns of
/// a row over one for 16 of them: in one pass, as no block's scale needs more than those 128. Pointers are the device's.
/// Throws std::invalid_argument for another dialect, or a spec that validate() refuses.
void quantize_double_blocks(MatrixView x, bool transposed, const QuantizeSpec&, const TensorParts& out,
                            Stream);

}  // namespace nvfp4::gpu
