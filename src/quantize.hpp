#pragma once
#include <nvfp4/hadamard.hpp>
#include <nvfp4/tensor.hpp>

#include "isa/isa.hpp"

namespace nvfp4::cpu {

float amax(const isa::Table&, MatrixView, const Dialect&);
BlockScaledTensor quantize(const isa::Table&, MatrixView, const QuantizeSpec&, BlockScaledTensor reuse);
BlockScaledTensor quantize_transposed(const isa::Table&, MatrixView, const QuantizeSpec&,
                                      BlockScaledTensor reuse);
BlockScaledTensor quantize_transformed(const isa::Table&, MatrixView, const Hadamard&, const QuantizeSpec&,
                                       BlockScaledTensor reuse);
Matrix dequantize(const isa::Table&, const BlockScaledTensor&);

}  // namespace nvfp4::cpu
