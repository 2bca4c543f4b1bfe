#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include <nvfp4/hadamard.hpp>
#include <nvfp4/quantize.hpp>

namespace nvfp4 {

/// The three products of a linear layer Y = X W^T with X (tokens, in), W (out, in) and dY (tokens, out). Each is
/// out = a * transpose(b), contracted along the rows of both:
///   fprop  Y  = X W^T        a = X,     b = W
///   dgrad  dX = dY W         a = dY,    b = W^T
///   wgrad  dW = dY^T X       a = dY^T,  b = X^T
enum class Gemm : std::uint8_t { fprop, dgrad, wgrad };
inline constexpr std::array all_gemms{Gemm::fprop, Gemm::dgrad, Gemm::wgrad};
constexpr std::string_view name(Gemm g) {
  return g == Gemm::fprop ? "fprop" : g == Gemm::dgrad ? "dgrad" : "wgrad";
}

/// What an operand is quantized from.
enum class Source : std::uint8_t {
  input,    ///< the layer's own matrix in high precision, transposed where the product asks for it
  forward,  ///< what fprop's codes of that matrix decode to, transposed: both passes see the same numbers
};
constexpr std::string_view name(Source s) { return s == Source::input ? "input" : "forward"; }

/// How one operand of one product becomes what the tensor cores multiply. Without a dialect it stays dense.
struct OperandRecipe {
  std::string dialect{};  ///< a name of all_dialects(), or empty
  BlockShape block{1, 16};
  TensorScale tensor_scale = TensorScale::tensor;
  bool stochastic = false;
  int rht = 0;              ///< size of the Hadamard transform along the contracted dimension; 0 is none
  Signs signs = Signs::te;  ///< of that transform; drawn, they are the same for both operands
  Source source = Source::input;
  FourOverSix four_over_six{};
  friend bool operator==(const OperandRecipe&, const OperandRecipe&) = default;
};

/// Of a scheme, by name.
using Options = std::map<std::string, std::string, std::less<>>;

/// What a product becomes before it is multiplied. `plain` is one term, a * transpose(b).
struct SchemeRecipe {
  std::string name = "plain";  ///< a name of schemes()
  Options options{};           ///< every one that the scheme has: scheme_recipe() fills in what is left out
  friend bool operator==(const SchemeRecipe&, const SchemeRecipe&) = default;
};

/// Both operands are quantized, or neither.
struct GemmRecipe {
  OperandRecipe a{}, b{};
  std::string accumulate = "sm100_nvfp4";  ///< a name of accumulations()
  Dtype out = Dtype::fp32;                 ///< what the sum of the terms is rounded to
  SchemeRecipe scheme{};
  std::string accumulate_dense = "sm100_bf16";  ///< of a scheme's dense terms beside quantized ones
  friend bool operator==(const GemmRecipe&, const GemmRecipe&) = default;
};

/// How a layer's three products are computed; with the inputs and a seed, all that fixes their bits.
struct Recipe {
  std::string name{};
  Dtype operands = Dtype::bf16;  ///< FP32 inputs are rounded to it first
  GemmRecipe fprop{}, dgrad{}, wgrad{};

  const GemmRecipe& operator[](Gemm g) const {
    return g == Gemm::fprop ? fprop : g == Gemm::dgrad ? dgrad : wgrad;
  }
  friend bool operator==(const Recipe&, const Recipe&) = default;
};

/// The published recipes. Each says in src/recipes.cpp where it comes from.
std::span<const Recipe> recipes();
const Recipe* find_recipe(std::string_view name);

/// Throws std::invalid_argument, saying which product and operand, for a recipe that no layer can run.
void validate(const Recipe&);

/// The recipe with operands of dialect te by another one, such as te_4over6 and its options; "+" and its name are added to
/// the recipe's. Operands that are rounded stochastically stay as they are where the dialect has no such rounding. Throws
/// std::invalid_argument where none is left, or a changed one is refused by validate(), naming product and operand.
Recipe with_dialect(Recipe, std::string_view dialect, const FourOverSix& = {});

}  // namespace nvfp4
