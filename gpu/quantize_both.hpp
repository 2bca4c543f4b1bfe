#pragma once
#include <nvfp4/layout.hpp>

#include <cstdint>
#include <optional>

#include "quantize.hpp"

/// Row-wise and column-wise in one pass over the input, 128x128 tiles in shared memory; FP32 in two. Pointers are the
/// device's; of codes and scales, multiples of 16.
namespace nvfp4::gpu {

struct Direction {
  const QuantizeSpec& spec;
  const float* amax;  ///< one number
  TensorParts parts;  ///< null codes: this direction is not made
};

/// rows = Kernels::quantize of x, columns = Kernels::quantize_transposed; or with a sign mask quantize_transformed, of
/// 16 along tokens with these signs, rounded, sum tensor_core (see transformed_amax()). Both bit for bit. Dialects te,
/// te_rht_fused and te_4over6 (1x16, no transform), the same in both directions; with a transform BF16 and rows in
/// multiples of 16. Scales as in quantize_rows(). Throws std::invalid_argument where validate() and, with a transform,
/// require_tensor_core_sum() do, and for all else.
void quantize_both(MatrixView x, const Direction& rows, const Direction& columns, ScaleLayout,
                   std::optional<std::uint32_t> sign_mask, Stream);

}  // namespace nvfp4::gpu
