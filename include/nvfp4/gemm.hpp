#pragma once
#include <vector>

#include <nvfp4/tensor.hpp>

namespace nvfp4 {

/// How the second-level scales of two operands meet the accumulator of their product, in this order, each step one FP32
/// multiplication:
///   out(i, j) = ((acc(i, j) * alpha) * rows[i]) * cols[j]
struct OutputScaling {
  float alpha = 1;
  bool includes_globals = true;       ///< else they stand in rows and cols
  std::vector<float> rows{}, cols{};  ///< empty: no such step
};

/// Two tensor amaxes: alpha = ((1 * Ga) * Gb) * FP32(1 / (da * db)), da and db the divisors, in the order of
/// Transformer Engine's common/recipe/nvfp4.cu. An amax for each row: alpha = FP32(1 / (da * db)), then the amaxes as
/// factors, a row's multiplied by a single one of the other operand first (its cpp_extensions/gemm.py). All other
/// conventions: the product of the two decode scales, an EncodeScale's being 1 / it.
OutputScaling output_scaling(const BlockScaledTensor& a, const BlockScaledTensor& b);

}  // namespace nvfp4
