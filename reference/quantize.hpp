#pragma once
#include <nvfp4/hadamard.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4::reference {

float amax(MatrixView, const Dialect&);
BlockScaledTensor quantize(MatrixView, const QuantizeSpec&, BlockScaledTensor reuse);
BlockScaledTensor quantize_transposed(MatrixView, const QuantizeSpec&, BlockScaledTensor reuse);
BlockScaledTensor quantize_transformed(MatrixView, const Hadamard&, const QuantizeSpec&,
                                       BlockScaledTensor reuse);
Matrix dequantize(const BlockScaledTensor&);

}  // namespace nvfp4::reference
