#include <stdexcept>

#include <nvfp4/accumulation.hpp>
#include <nvfp4/kernels.hpp>
#include <nvfp4/scheme.hpp>

#include "low_rank.hpp"
#include "schemes.hpp"

/// Metis: quantization in the spectral domain (arXiv 2509.00404). Of a product A B^T the first operand, X in fprop and D in
/// dgrad and wgrad, is split by a randomized singular value decomposition of low rank, and its parts are quantized apart,
///
///   A = U S V + R,   A B^T = Q(R) Q(B)^T + (Q(U) S) (Q(V) Q(B)^T)
///
/// so that the few large singular values, which S keeps in high precision, do not set the scales of the rest.
///
/// What the paper leaves open, and what is done here. Each product splits its own A, along its own rows: the authors' code
/// splits D^T once, and emulates both products with what that decodes to. V has its blocks along the contracted dimension, U
/// along the rows of A (its columns stay whole blocks), so that Q(V) Q(B)^T is a product in FP4 and the last one, over the
/// rank, a dense term in FP32: a = Q(U) S, b = (Q(V) Q(B)^T)^T. R is FP32, of the decomposition before U and V are
/// quantized. All are in dialect te where the code has unrounded FP32 scales of 16, and rounded at random, as there. B is
/// quantized whole. Not here: a weight that is split once, whose parts are trained as parameters, and the spectral learning
/// rates, which change what a step does and not how a product is computed. Kept nowhere: each step draws anew by its seed.
namespace nvfp4::scheme {
namespace {

/// `rank`: the code's default. `iterations`: of the subspace, its niter.
constexpr Option options[] = {{"rank", "60", {}, 1, 4096}, {"iterations", "0", {}, 0, 2}};

int integer(const Product& p, std::string_view name) { return std::stoi(std::string(p.option(name))); }

LowRank split(const Product& p, const Kernels& kernels) {
  const Matrix x = p.a.along == Along::row ? converted(p.a.x, Dtype::fp32, kernels)
                                           : converted(transpose(p.a.x).view(), Dtype::fp32, kernels);
  return low_rank(x, integer(p, "rank"), integer(p, "iterations"), p.bits(0, 3));
}

/// Rows of length 1 by what they are the directions of.
Matrix scaled(Matrix rows, const std::vector<float>& s) {
  for (std::int64_t i = 0; i < rows.rows; ++i)
    for (std::int64_t k = 0; k < rows.cols; ++k)
      rows.f32()[i * rows.cols + k] *= s[static_cast<std::size_t>(i)];
  return rows;
}

std::vector<Term> lower(const Product& p, const Kernels& kernels) {
  const LowRank parts = split(p, kernels);
  const auto quantized = [&](const Matrix& m, int further) {
    return lowered(p.recipe.a, {m.view(), Along::row}, p.bits(0, further), kernels);
  };
  Term residual{.a = quantized(parts.residual, 0), .b = lowered(p.recipe.b, p.b, p.bits(1), kernels)};
  const BlockScaledTensor v = *quantized(parts.v, 1).quantized, u = *quantized(parts.u, 2).quantized,
                          &b = *residual.b.quantized;
  const Matrix projected =
      gemm(v, b, *find_accumulation(p.recipe.accumulate), {.scaling = output_scaling(v, b)}, kernels);
  Term spectral{.a = {.dense = transpose(scaled(kernels.dequantize(u), parts.s).view())},
                .b = {.dense = transpose(projected.view())}};
  return {std::move(residual), std::move(spectral)};
}

void validate(const GemmRecipe& g, Gemm) {
  const Dialect* d = find_dialect(g.a.dialect);
  if (!d || d->element != Format::e2m1 || g.a.block.rows != 1 || g.a.rht)
    throw std::invalid_argument("metis takes E2M1 in blocks of one row, and no transform");
  if (g.accumulate_dense != "fp32_in_order" && g.accumulate_dense != "exact")
    throw std::invalid_argument("metis's dense term is in FP32: accumulate_dense fp32_in_order or exact");
}

std::vector<Recipe> recipes() {
  Recipe r = plain_recipe("metis");
  for (GemmRecipe* g : {&r.fprop, &r.dgrad, &r.wgrad}) {
    g->a.stochastic = g->b.stochastic = true;
    g->scheme = scheme_recipe("metis", {});
    g->accumulate_dense = "fp32_in_order";
  }
  return {r};
}

}  // namespace

constinit const Scheme metis{
    .name = "metis",
    .options = options,
    .validate = validate,
    .lower = lower,
    .recipes = recipes,
};

}  // namespace nvfp4::scheme
