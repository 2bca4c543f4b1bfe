#pragma once
#include <cstdint>

#include <nvfp4/eden.hpp>
#include <nvfp4/tensor.hpp>

#include "stream.hpp"

namespace nvfp4::gpu {

/// What Kernels::quantize_eden does after quantize() by dialect quartet2_eden: the block scales of y, rows x
/// ceil(cols / 16), corrected in place. `global` is the tensor's. Pointers are the device's. Throws std::invalid_argument
/// where validate() does.
void correct_scales(MatrixView y, const Eden&, const float* global, std::uint8_t* scales, Stream);

}  // namespace nvfp4::gpu
