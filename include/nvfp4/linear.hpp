#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nvfp4/gemm.hpp>
#include <nvfp4/recipe.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4 {

struct Kernels;

/// One operand of a product: quantized, or dense.
struct Operand {
  std::optional<BlockScaledTensor> quantized{};
  Matrix dense{};        ///< where it is not quantized
  Matrix transformed{};  ///< what was quantized, where a transform came first
};

/// out = alpha * a * transpose(b), with the operands' second-level scales as `scaling` says. Both operands are quantized,
/// or neither. One row of out stands for every row.
struct Term {
  Operand a{}, b{};
  OutputScaling scaling{};
  std::string transform{};  ///< what was done to both operands along the contracted dimension; empty: nothing
  Matrix out{};             ///< FP32
};

/// A product as the sum of its terms, ((out_0 + out_1) + out_2) + ... in FP32, in the recipe's output type.
struct Pass {
  std::vector<Term> terms{};
  Matrix out{};
};

/// Every intermediate of one step of a linear layer.
struct LinearResult {
  Pass fprop{}, dgrad{}, wgrad{};
};

/// X (tokens, in), W (out, in), dY (tokens, out); fprop.out is Y (tokens, out), dgrad.out dX (tokens, in), wgrad.out
/// dW (out, in). The random bits of each operand come from a stream of its own: 2 * product + (0 for a, 1 for b), and
/// 6 n more for the n-th further one that a scheme quantizes.
/// Where a transform meets tokens, or channels, that are no multiple of its size, zeros are appended to both operands.
/// Throws std::invalid_argument for shapes that do not fit and recipes that validate() refuses.
LinearResult linear(const Recipe&, MatrixView x, MatrixView w, MatrixView dy, std::uint64_t seed,
                    const Kernels&);

}  // namespace nvfp4
