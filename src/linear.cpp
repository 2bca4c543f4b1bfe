#include <nvfp4/linear.hpp>

#include <algorithm>
#include <stdexcept>

#include <nvfp4/accumulation.hpp>
#include <nvfp4/kernels.hpp>
#include <nvfp4/scheme.hpp>

#include "float_environment.hpp"

namespace nvfp4 {
namespace {

std::string transform_name(const OperandRecipe& o) {
  return "Hadamard transform of " + std::to_string(o.rht) + ", signs " + std::string(name(o.signs));
}

void multiply(Term& term, const GemmRecipe& recipe, const Kernels& kernels) {
  if (!term.a.quantized) {
    const std::string& dense = recipe.a.dialect.empty() ? recipe.accumulate : recipe.accumulate_dense;
    term.out = kernels.scale_output(
        kernels.multiply_dense(term.a.dense.view(), term.b.dense.view(), *find_accumulation(dense)),
        term.scaling);
    return;
  }
  term.scaling = output_scaling(*term.a.quantized, *term.b.quantized);
  if (recipe.a.rht && !term.a.transformed.bytes.empty())
    term.transform = transform_name(recipe.a) + (term.transform.empty() ? "" : "; " + term.transform);
  term.out = gemm(*term.a.quantized, *term.b.quantized, *find_accumulation(recipe.accumulate),
                  {.scaling = term.scaling}, kernels);
}

/// The given state has what the scheme keeps, no more and no less.
void require_kept(const SchemeState& state, const Scheme& scheme, Gemm gemm) {
  const std::string in = std::string(name(gemm)) + ": ", of = " of scheme " + std::string(scheme.name);
  for (const auto& item : state)
    if (std::ranges::count(scheme.keeps, item.first) == 0)
      throw std::invalid_argument(in + "state '" + item.first + "' is none" + of);
  for (const std::string_view kept : scheme.keeps)
    if (!state.contains(kept)) throw std::invalid_argument(in + "no state '" + std::string(kept) + "'" + of);
}

SchemeState state_of(const Product& product, const LayerState* given, const Kernels& kernels) {
  const Scheme& scheme = *find_scheme(product.recipe.scheme.name);
  if (given) require_kept((*given)[product.gemm], scheme, product.gemm);
  if (given) return (*given)[product.gemm];
  return scheme.calibrate ? scheme.calibrate(product, kernels) : SchemeState{};
}

Pass run(const Product& product, const Kernels& kernels) {
  Pass made{.terms = find_scheme(product.recipe.scheme.name)->lower(product, kernels)};
  for (Term& term : made.terms) multiply(term, product.recipe, kernels);
  Matrix sum = made.terms[0].out;
  for (std::size_t i = 1; i < made.terms.size(); ++i)
    sum = kernels.add_output(std::move(sum), 1, made.terms[i].out.view());
  made.out = converted(sum.view(), product.recipe.out, kernels);
  return made;
}

ProductResult made(Product product, const LayerState* given, const Kernels& kernels) {
  product.state = state_of(product, given, kernels);
  Pass pass = run(product, kernels);
  return {std::move(pass), std::move(product.state)};
}

void require(bool fits, const std::string& expected, std::int64_t found) {
  if (!fits) throw std::invalid_argument("expected " + expected + ", found " + std::to_string(found));
}

void require_shapes(MatrixView x, MatrixView w) {
  require(w.cols == x.cols, "W with the columns of X, " + std::to_string(x.cols), w.cols);
}

void require_shapes(MatrixView x, MatrixView w, MatrixView dy) {
  require_shapes(x, w);
  require(dy.rows == x.rows, "dY with the rows of X, " + std::to_string(x.rows), dy.rows);
  require(dy.cols == w.rows, "dY with a column for each row of W, " + std::to_string(w.rows), dy.cols);
}

/// Of operands in the recipe's type.
ProductResult forward(const Recipe& recipe, MatrixView x, MatrixView w, std::uint64_t seed,
                      const LayerState* given, const Kernels& kernels) {
  return made({Gemm::fprop, recipe.fprop, {x, Along::row}, {w, Along::row}, seed}, given, kernels);
}

/// What fprop made of the matrix that this product takes its b from; null where the recipe does not ask.
const Operand* forward_of(const GemmRecipe& recipe, Gemm g, const ProductResult& forward) {
  if (recipe.b.source == Source::input) return nullptr;
  const Term& of = forward.pass.terms.at(0);
  return g == Gemm::dgrad ? &of.b : &of.a;
}

ProductResult backward(const Recipe& recipe, Gemm g, MatrixView x, MatrixView w, MatrixView dy,
                       const ProductResult& forward, std::uint64_t seed, const LayerState* given,
                       const Kernels& kernels) {
  const bool dgrad = g == Gemm::dgrad;
  const Side a{dy, dgrad ? Along::row : Along::tokens},
      b{dgrad ? w : x, Along::tokens, forward_of(recipe[g], g, forward)};
  return made({.gemm = g, .recipe = recipe[g], .a = a, .b = b, .seed = seed, .fprop = &forward.state}, given,
              kernels);
}

}  // namespace

LinearResult linear(const Recipe& recipe, MatrixView x, MatrixView w, MatrixView dy, std::uint64_t seed,
                    const Kernels& kernels, const LayerState* state) {
  const cpu::FloatEnvironment fenced;
  validate(recipe);
  require_shapes(x, w, dy);
  const Matrix X = converted(x, recipe.operands, kernels), W = converted(w, recipe.operands, kernels),
               D = converted(dy, recipe.operands, kernels);
  ProductResult y = forward(recipe, X.view(), W.view(), seed, state, kernels);
  const auto gradient = [&](Gemm g) {
    return backward(recipe, g, X.view(), W.view(), D.view(), y, seed, state, kernels);
  };
  ProductResult dx = gradient(Gemm::dgrad), dw = gradient(Gemm::wgrad);
  return {std::move(y.pass),
          std::move(dx.pass),
          std::move(dw.pass),
          {std::move(y.state), std::move(dx.state), std::move(dw.state)}};
}

bool needs_forward(const Recipe& recipe, Gemm gemm) { return recipe[gemm].b.source == Source::forward; }

ProductResult linear_forward(const Recipe& recipe, MatrixView x, MatrixView w, std::uint64_t seed,
                             const Kernels& kernels, const LayerState* state) {
  const cpu::FloatEnvironment fenced;
  validate(recipe);
  require_shapes(x, w);
  const Matrix X = converted(x, recipe.operands, kernels), W = converted(w, recipe.operands, kernels);
  return forward(recipe, X.view(), W.view(), seed, state, kernels);
}

ProductResult linear_backward(const Recipe& recipe, Gemm gemm, MatrixView x, MatrixView w, MatrixView dy,
                              const ProductResult& of, std::uint64_t seed, const Kernels& kernels,
                              const LayerState* state) {
  const cpu::FloatEnvironment fenced;
  validate(recipe);
  require_shapes(x, w, dy);
  if (gemm == Gemm::fprop) throw std::invalid_argument("expected dgrad or wgrad");
  if (needs_forward(recipe, gemm) && of.pass.terms.empty())
    throw std::invalid_argument(std::string(name(gemm)) + " by " + recipe.name +
                                " takes an operand from fprop's codes: expected its result");
  const Matrix X = converted(x, recipe.operands, kernels), W = converted(w, recipe.operands, kernels),
               D = converted(dy, recipe.operands, kernels);
  return backward(recipe, gemm, X.view(), W.view(), D.view(), of, seed, state, kernels);
}

}  // namespace nvfp4
