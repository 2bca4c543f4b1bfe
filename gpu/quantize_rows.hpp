#pragma once
#include <nvfp4/layout.hpp>

#include "quantize.hpp"

/// The fast row-wise quantizer: 16 elements a thread. Pointers are the device's; of codes and scales, multiples of 16.
namespace nvfp4::gpu {

/// Whether quantize_rows() has this: dialects te, te_rht_fused, te_4over6 (1x16), vllm and flashinfer with one tensor
/// scale, and flashinfer_per_token. quantize() has the rest.
bool has_quantize_rows(const QuantizeSpec&);

/// Kernels::quantize, bit for bit, of FP32, BF16 or FP16. `amaxes` has one number, or of flashinfer_per_token one
/// for each row. Scales lie linear or as 128x4, their padding 0; codes are rows x ceil(cols / 16) x 8 bytes.
/// Throws std::invalid_argument where validate() does, and for what has_quantize_rows() has not.
void quantize_rows(MatrixView x, const QuantizeSpec&, const float* amaxes, const TensorParts&, ScaleLayout,
                   Stream);

}  // namespace nvfp4::gpu
