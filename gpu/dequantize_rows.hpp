#pragma once
#include <nvfp4/layout.hpp>

#include "quantize.hpp"

/// The fast dequantizer: four elements a thread. Pointers are the device's; of codes and out, multiples of 16.
namespace nvfp4::gpu {

/// Kernels::dequantize, bit for bit: rows x cols of FP32, of the dialects of quantize_rows() and scales that lie linear
/// or as 128x4. `made_from` is the type of what was quantized. Throws std::invalid_argument where validate() does, and
/// for another dialect or layout.
void dequantize_rows(const TensorParts&, ScaleLayout, std::int64_t rows, std::int64_t cols,
                     const QuantizeSpec&, Dtype made_from, float* out, Stream);

}  // namespace nvfp4::gpu
