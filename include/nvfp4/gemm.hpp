#pragma once
#include <cstdint>
#include <vector>

#include <nvfp4/accumulation.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4 {

/// How the second-level scales of two operands meet the accumulator of their product, in this order, each step one FP32
/// multiplication:
///   out(i, j) = ((acc(i, j) * alpha) * rows[i]) * cols[j]
/// With `part` K is cut into parts p of so many columns, each accumulated from +0; rows is then M x parts, cols N x parts:
///   out(i, j) = (y_0 + y_1) + y_2 ...,   y_p = ((acc_p(i, j) * alpha) * rows[i, p]) * cols[j, p]
struct OutputScaling {
  float alpha = 1;
  bool includes_globals = true;       ///< else they stand in rows and cols
  std::vector<float> rows{}, cols{};  ///< empty: no such step
  std::int64_t part = 0;              ///< columns of K, of operands with Dialect::outer_cols
};

/// Two tensor amaxes: alpha = ((1 * Ga) * Gb) * FP32(1 / (da * db)), da and db the divisors, in the order of
/// Transformer Engine's common/recipe/nvfp4.cu. An amax for each row: alpha = FP32(1 / (da * db)), then the amaxes as
/// factors, a row's multiplied by a single one of the other operand first (its cpp_extensions/gemm.py). All other
/// conventions: the product of the two decode scales, an EncodeScale's being 1 / it.
/// Scales of outer_cols columns are rows and cols of parts, and alpha is 1. That order is ours: TetraJet-v2's kernel
/// fuses y + (rows * cols) * acc. Throws std::invalid_argument where only one operand has them, or both differ.
OutputScaling output_scaling(const BlockScaledTensor& a, const BlockScaledTensor& b);

/// The same where only one operand is quantized, and has one such scale or none: alpha = G * FP32(1 / d) of an amax.
/// Throws std::invalid_argument for scales of outer_cols.
OutputScaling output_scaling(const BlockScaledTensor&);

struct Kernels;

/// What a GEMM does beside multiplying, in this order, each step one FP32 operation rounded to nearest even:
///   acc = ((acc_0 + acc_1) + acc_2) + ...     the accumulators of the ranges of K, each begun from +0
///   y = ((acc * alpha) * rows[i]) * cols[j]
///   y = y + bias[j]
///   y = y + (beta * c(i, j))                  two roundings: an FMA here, as in CUTLASS's host reference, is another
/// Every NaN comes out as the GPU's 0x7FFFFFFF.
struct GemmSpec {
  OutputScaling scaling{};
  std::vector<std::int64_t> cuts{};  ///< where K is cut: ascending, inside K, each between two blocks
  std::vector<float> bias{};         ///< one a column; empty: no such step
  Matrix c{};  ///< FP32, M x N; 0 x 0: no such step, else c is read even where beta is 0
  float beta = 1;
};

/// Split-K: the cuts that make `parts` ranges of equally many whole instructions; the last takes what is left, and
/// there are fewer where K runs out before. A stream-K tile is the same with cuts of its own. Throws
/// std::invalid_argument for fewer parts than 1.
std::vector<std::int64_t> split_k(const BlockScaledTensor& a, const Accumulation&, std::int64_t parts);

/// The accumulation of operands of this dialect where nothing else is said: sm100_nvfp4, or under E8M0 scales
/// sm100_mxfp4 and for FP8 elements sm100_mxf8f6f4.
const Accumulation& default_accumulation(const Dialect&);

/// M x N in FP32, of a (M x K) and b (N x K). Throws std::invalid_argument where sizes or cuts do not fit, or the
/// accumulation does not take such operands.
Matrix gemm(const BlockScaledTensor& a, const BlockScaledTensor& b, const Accumulation&, const GemmSpec&,
            const Kernels&);

}  // namespace nvfp4
