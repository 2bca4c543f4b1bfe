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

void require(bool fits, const std::string& expected, std::int64_t found) {
  if (!fits) throw std::invalid_argument("expected " + expected + ", found " + std::to_string(found));
}

}  // namespace

LinearResult linear(const Recipe& recipe, MatrixView x, MatrixView w, MatrixView dy, std::uint64_t seed,
                    const Kernels& kernels, const LayerState* state) {
  const cpu::FloatEnvironment fenced;
  validate(recipe);
  require(w.cols == x.cols, "W with the columns of X, " + std::to_string(x.cols), w.cols);
  require(dy.rows == x.rows, "dY with the rows of X, " + std::to_string(x.rows), dy.rows);
  require(dy.cols == w.rows, "dY with a column for each row of W, " + std::to_string(w.rows), dy.cols);
  const Matrix X = converted(x, recipe.operands, kernels), W = converted(w, recipe.operands, kernels),
               D = converted(dy, recipe.operands, kernels);
  LinearResult result;
  const auto pass = [&](Gemm g, const Side& a, const Side& b) {
    Product product{g, recipe[g], a, b, seed};
    if (g != Gemm::fprop) product.fprop = &result.state.fprop;
    result.state[g] = product.state = state_of(product, state, kernels);
    return run(product, kernels);
  };
  result.fprop = pass(Gemm::fprop, {X.view(), Along::row}, {W.view(), Along::row});
  const Term& forward = result.fprop.terms[0];
  result.dgrad = pass(Gemm::dgrad, {D.view(), Along::row}, {W.view(), Along::tokens, &forward.b});
  result.wgrad = pass(Gemm::wgrad, {D.view(), Along::tokens}, {X.view(), Along::tokens, &forward.a});
  return result;
}

}  // namespace nvfp4
