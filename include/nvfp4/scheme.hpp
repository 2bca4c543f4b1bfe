#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nvfp4/linear.hpp>
#include <nvfp4/recipe.hpp>

namespace nvfp4 {

/// A matrix of a product. The contracted dimension lies along its rows, or along its tokens.
struct Side {
  MatrixView x;
  Along along;
  const Operand* forward = nullptr;  ///< fprop's operand of the same matrix, where there is one
};

/// a * transpose(b) in high precision, and how its operands are to be quantized.
struct Product {
  Gemm gemm;
  const GemmRecipe& recipe;
  Side a, b;
  std::uint64_t seed;
  SchemeState state{};                 ///< calibrated, or given; empty where the scheme keeps nothing
  const SchemeState* fprop = nullptr;  ///< of dgrad and wgrad: the state that fprop ran with

  std::string_view option(std::string_view name) const { return recipe.scheme.options.find(name)->second; }
  /// Of side a (0) or b (1). What a scheme quantizes beside the two operands is `further`, 1 or more.
  RandomBits bits(int side, int further = 0) const {
    return {.seed = seed, .stream = static_cast<std::uint64_t>(6 * further + 2 * int(gemm) + side)};
  }
};

/// One choice that a scheme leaves to the recipe.
struct Option {
  std::string_view name, standard;
  std::span<const std::string_view> values{};
  std::int64_t low = 1, high = 0;  ///< integers are taken too, where there are some from low to high
};

/// A published way to run a product in NVFP4: what it becomes. One is a file of src/schemes, which reaches a layer only
/// through the Kernels it is given, and a line of its table.
struct Scheme {
  std::string_view name;
  std::span<const Option> options{};

  /// Throws std::invalid_argument for operands that it cannot lower. The options are valid.
  void (*validate)(const GemmRecipe&, Gemm);

  /// What it keeps from step to step, and how that comes from this step's matrices; most keep nothing.
  std::span<const std::string_view> keeps{};
  SchemeState (*calibrate)(const Product&, const Kernels&) = nullptr;

  /// Whether its dgrad and wgrad take their second operand from the codes of its own fprop, which may have split it.
  bool joins_forward = false;

  /// The terms whose sum the product is, in order, the first in the product's full shape. Operands are filled, of dense
  /// terms also alpha; linear() multiplies. Throws std::invalid_argument for a state that is none of this product's.
  std::vector<Term> (*lower)(const Product&, const Kernels&);

  std::vector<Recipe> (*recipes)();  ///< the published ones
};

std::span<const Scheme* const> schemes();
const Scheme* find_scheme(std::string_view name);

/// Throws std::invalid_argument for a scheme or an option that is not there.
void validate(const SchemeRecipe&);

/// A scheme with these options, the others by default.
SchemeRecipe scheme_recipe(std::string_view name, Options);

/// te 1x16, RNE, both operands of every product: what schemes change.
Recipe plain_recipe(std::string name);

/// NVIDIA's, on which some schemes build.
Recipe nvidia_recipe(std::string name);

/// Throws std::invalid_argument, naming the scheme, unless both operands are E2M1 under E4M3 scales, with one scale a tensor.
void require_nvfp4(const GemmRecipe&, std::string_view scheme);

/// What lowered() quantizes of a side that is transformed: blocks lie along its rows.
Matrix transformed(const OperandRecipe&, const Side&, const RandomBits&, const Kernels&);

/// A side as its recipe says: quantized, after its transform; or dense.
Operand lowered(const OperandRecipe&, const Side&, const RandomBits&, const Kernels&);

/// What the product's state holds by that name. Throws std::invalid_argument where one is not from low to high, or stands
/// twice.
std::span<const std::int64_t> indices(const Product&, std::string_view name, std::int64_t low,
                                      std::int64_t high);

/// element * block scale, without the tensor scale, of E2M1 elements under E4M3 scales: exact in every Dtype.
Matrix block_scaled_values(const BlockScaledTensor&, Dtype, const Kernels&);

}  // namespace nvfp4
