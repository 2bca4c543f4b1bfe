#include <nvfp4/scheme.hpp>

#include "schemes.hpp"

namespace nvfp4::scheme {
namespace {

std::vector<Term> lower(const Product& p, const Kernels& kernels) {
  return {
      {.a = lowered(p.recipe.a, p.a, p.bits(0), kernels), .b = lowered(p.recipe.b, p.b, p.bits(1), kernels)}};
}

}  // namespace

/// One term. What the recipes of src/recipes.cpp differ in is how its operands are quantized.
constinit const Scheme plain{
    .name = "plain",
    .validate = [](const GemmRecipe&, Gemm) {},
    .lower = lower,
    .recipes = [] { return std::vector<Recipe>{}; },
};

}  // namespace nvfp4::scheme
