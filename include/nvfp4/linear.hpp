#pragma once
#include <cstdint>
#include <functional>
#include <map>
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

/// What a scheme calibrates for a product and keeps from step to step, by the scheme's own names: channels, counts.
using SchemeState = std::map<std::string, std::vector<std::int64_t>, std::less<>>;

struct LayerState {
  SchemeState fprop{}, dgrad{}, wgrad{};

  SchemeState& operator[](Gemm g) { return g == Gemm::fprop ? fprop : g == Gemm::dgrad ? dgrad : wgrad; }
  const SchemeState& operator[](Gemm g) const { return const_cast<LayerState&>(*this)[g]; }
  friend bool operator==(const LayerState&, const LayerState&) = default;
};

/// Every intermediate of one step of a linear layer.
struct LinearResult {
  Pass fprop{}, dgrad{}, wgrad{};
  LayerState state{};  ///< that it ran with
};

/// X (tokens, in), W (out, in), dY (tokens, out); fprop.out is Y (tokens, out), dgrad.out dX (tokens, in), wgrad.out
/// dW (out, in). The random bits of each operand come from a stream of its own: 2 * product + (0 for a, 1 for b), and
/// 6 n more for the n-th further one that a scheme quantizes.
/// Where a transform meets tokens, or channels, that are no multiple of its size, zeros are appended to both operands.
/// Without a state, each scheme calibrates on these matrices.
/// Throws std::invalid_argument for shapes that do not fit, recipes that validate() refuses and a state that does not fit
/// the recipe and the layer.
LinearResult linear(const Recipe&, MatrixView x, MatrixView w, MatrixView dy, std::uint64_t seed,
                    const Kernels&, const LayerState* = nullptr);

/// One product of linear(), and the state that it ran with.
struct ProductResult {
  Pass pass{};
  SchemeState state{};
};

/// fprop alone, where dY is not there yet. Of a state its fprop.
ProductResult linear_forward(const Recipe&, MatrixView x, MatrixView w, std::uint64_t seed, const Kernels&,
                             const LayerState* = nullptr);

/// Whether this product takes an operand from the codes of fprop, and so fprop's result.
bool needs_forward(const Recipe&, Gemm);

/// dgrad or wgrad alone, after that fprop of the same recipe, x, w and seed; an empty one where none is needed. Of a
/// state its own product's.
ProductResult linear_backward(const Recipe&, Gemm, MatrixView x, MatrixView w, MatrixView dy,
                              const ProductResult& forward, std::uint64_t seed, const Kernels&,
                              const LayerState* = nullptr);

}  // namespace nvfp4
