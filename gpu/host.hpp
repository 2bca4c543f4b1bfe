#pragma once
#include <nvfp4/kernels.hpp>

/// The entries of the GPU's table (include/nvfp4/kernels.hpp): each launch with copies of what it reads to the device,
/// and of what it writes back.
namespace nvfp4::gpu::host {

void encode(std::span<const float> values, const Encoding&, std::span<std::uint32_t> codes);
void encode_stochastic(std::span<const float> values, std::span<const std::uint32_t> random,
                       const StochasticEncoding&, std::span<std::uint32_t> codes);
void decode(std::span<const std::uint32_t> codes, Format, std::span<float> values);
void random_words(const RandomBits&, std::int64_t row, std::int64_t first_block,
                  std::span<std::uint32_t> words);

float amax(MatrixView, const Dialect&);
BlockScaledTensor quantize(MatrixView, const QuantizeSpec&, BlockScaledTensor reuse);
BlockScaledTensor quantize_transposed(MatrixView, const QuantizeSpec&, BlockScaledTensor reuse);
BlockScaledTensor quantize_transformed(MatrixView, const Hadamard&, const QuantizeSpec&,
                                       BlockScaledTensor reuse);
BlockScaledTensor quantize_eden(MatrixView, const Eden&, BlockScaledTensor reuse);
Matrix dequantize(const BlockScaledTensor&);
Matrix hadamard(MatrixView, const Hadamard&);

Matrix scale_output(Matrix accumulator, const OutputScaling&);
Matrix add_output(Matrix y, float factor, MatrixView x);
Matrix multiply(const BlockScaledTensor& a, const BlockScaledTensor& b, const Accumulation&, Matrix reuse);
Matrix multiply_dense(MatrixView a, MatrixView b, const Accumulation&);
std::vector<std::uint64_t> mma(const MmaOperands&, const Accumulation&, bool every_step);

}  // namespace nvfp4::gpu::host
