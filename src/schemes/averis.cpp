#include <algorithm>
#include <stdexcept>

#include <nvfp4/accumulation.hpp>
#include <nvfp4/kernels.hpp>
#include <nvfp4/scheme.hpp>

#include "schemes.hpp"

/// Averis: mean-residual splitting (arXiv 2603.10444). Over the l tokens of a layer, for each channel,
///
///   mu_X = (1/l) 1^T X,   X_R = X - 1 mu_X,   and so of dY; W is not split
///   fprop  Y  = Q(X_R) Q(W)^T + 1 (mu_X Q(W)^T)                                                          (Eq. 11)
///   dgrad  dX = Q(D_R) Q(W)   + 1 (mu_D Q(W))
///   wgrad  dW = Q(D_R)^T Q(X_R) + (Q(D_R)^T 1) mu_X + mu_D^T (1^T Q(X_R)) + l mu_D^T mu_X                (Eq. 12)
///
/// Before quantization the two middle terms of wgrad vanish; after it they do not.
///
/// What the paper leaves open, and what is done here. A sum over tokens is a chain of FP32 additions, the first token
/// first (fp32_in_order). mu is that sum times FP32(1/l), and mu, X_R and the token sums of wgrad are rounded to the
/// recipe's operand type; X_R is X less the rounded mu, in FP32. Dense operands of quantized numbers hold element * block
/// scale, their tensor scale goes to alpha. With a Hadamard transform, which only wgrad may have, the split comes first,
/// mu is not transformed, and the 1 of the middle terms is: 1^T X_R = (H^T 1)^T (H^T X_R).
namespace nvfp4::scheme {
namespace {

/// `mean`: dense is a reconstruction of the paper's second version, fp4 the first version, where mu has scales of its own.
/// `wgrad_terms`: 2 leaves the middle terms out.
constexpr std::string_view means[] = {"dense", "fp4"}, term_counts[] = {"2", "4"};
constexpr Option options[] = {{"mean", "dense", means}, {"wgrad_terms", "4", term_counts}};

bool has_dense_mean(const Product& p) { return p.option("mean") == "dense"; }

Matrix ones(std::int64_t rows, std::int64_t cols, Dtype dtype, const Kernels& kernels) {
  Matrix m(rows, cols);
  std::fill_n(m.f32(), rows * cols, 1.f);
  return converted(m.view(), dtype, kernels);
}

/// weights (1 x l) times transpose(rows), rows being one for each channel: 1 x channels, FP32.
Matrix weighted_sums(MatrixView weights, MatrixView rows, const Kernels& kernels) {
  return kernels.multiply_dense(weights, rows, *find_accumulation("fp32_in_order"));
}

struct Split {
  Matrix mean, residual;  ///< 1 x channels, tokens x channels
};

Split split(MatrixView x, const Kernels& kernels) {
  const Matrix sums = weighted_sums(ones(1, x.rows, x.dtype, kernels).view(), transpose(x).view(), kernels);
  const float share = 1 / static_cast<float>(std::max<std::int64_t>(x.rows, 1));
  Matrix mean = converted(kernels.scale_output(sums, {.alpha = share}).view(), x.dtype, kernels);
  const Matrix subtrahend = converted(mean.view(), Dtype::fp32, kernels);
  const Matrix residual = kernels.add_output(converted(x, Dtype::fp32, kernels), -1, subtrahend.view());
  return {std::move(mean), converted(residual.view(), x.dtype, kernels)};
}

/// mu in FP4: quantized as its matrix is, along the channels, untransformed.
Operand quantized_mean(OperandRecipe o, const Matrix& mean, const RandomBits& bits, const Kernels& kernels) {
  o.block.rows = 1;
  o.rht = 0;
  return lowered(o, {mean.view(), Along::row}, bits, kernels);
}

/// fprop and dgrad: a is split.
std::vector<Term> lower_rows(const Product& p, const Kernels& kernels) {
  const Split a = split(p.a.x, kernels);
  Term residual{.a = lowered(p.recipe.a, {a.residual.view(), p.a.along}, p.bits(0), kernels),
                .b = lowered(p.recipe.b, p.b, p.bits(1), kernels)};
  const BlockScaledTensor& w = *residual.b.quantized;
  Term mean;
  if (has_dense_mean(p))
    mean = {.a = {.dense = a.mean},
            .b = {.dense = block_scaled_values(w, p.a.x.dtype, kernels)},
            .scaling = output_scaling(w)};
  else
    mean = {.a = quantized_mean(p.recipe.a, a.mean, p.bits(0, 1), kernels), .b = residual.b};
  return {std::move(residual), std::move(mean)};
}

/// A vector as the one column of a dense operand, and what of it goes to alpha.
struct Factor {
  Matrix column;
  float scale = 1;
};

Factor factor(Matrix row, float scale) {
  std::swap(row.rows, row.cols);
  return {std::move(row), scale};
}

Term outer(const Factor& a, const Factor& b, float count) {
  return {
      .a = {.dense = a.column}, .b = {.dense = b.column}, .scaling = {.alpha = count * (a.scale * b.scale)}};
}

/// One side of wgrad: its operand, and mu and the operand's token sums as factors.
struct WgradSide {
  Operand operand;
  Factor mean, sums;
};

Factor mean_factor(const Product& p, int side, const OperandRecipe& o, Matrix mean, const Kernels& kernels) {
  if (has_dense_mean(p)) return factor(std::move(mean), 1);
  const Operand q = quantized_mean(o, mean, p.bits(side, 1), kernels);
  return factor(block_scaled_values(*q.quantized, mean.dtype, kernels), output_scaling(*q.quantized).alpha);
}

/// sum over the tokens of what was quantized, its transform undone: over 1 transformed as the operand was.
Factor token_sums(const OperandRecipe& o, const BlockScaledTensor& t, MatrixView x, const RandomBits& bits,
                  const Kernels& kernels) {
  Matrix weights = ones(x.rows, 1, x.dtype, kernels);
  weights =
      o.rht ? transformed(o, {weights.view(), Along::tokens}, bits, kernels) : transpose(weights.view());
  const Matrix values = block_scaled_values(t, x.dtype, kernels);
  const Matrix sums = weighted_sums(weights.view(), values.view(), kernels);
  return factor(converted(sums.view(), x.dtype, kernels), output_scaling(t).alpha);
}

WgradSide wgrad_side(const Product& p, int side, const Kernels& kernels) {
  const OperandRecipe& o = side ? p.recipe.b : p.recipe.a;
  const MatrixView x = (side ? p.b : p.a).x;
  Split s = split(x, kernels);
  Operand operand = lowered(o, {s.residual.view(), Along::tokens}, p.bits(side), kernels);
  Factor sums = token_sums(o, *operand.quantized, x, p.bits(side), kernels);
  return {std::move(operand), mean_factor(p, side, o, std::move(s.mean), kernels), std::move(sums)};
}

std::vector<Term> lower_wgrad(const Product& p, const Kernels& kernels) {
  WgradSide d = wgrad_side(p, 0, kernels), x = wgrad_side(p, 1, kernels);
  std::vector<Term> terms{{.a = std::move(d.operand), .b = std::move(x.operand)}};
  if (p.option("wgrad_terms") == "4") {
    terms.push_back(outer(d.sums, x.mean, 1));
    terms.push_back(outer(d.mean, x.sums, 1));
  }
  terms.push_back(outer(d.mean, x.mean, static_cast<float>(p.a.x.rows)));
  return terms;
}

void validate(const GemmRecipe& g, Gemm gemm) {
  require_nvfp4(g, "averis");
  if (gemm != Gemm::wgrad && g.a.rht)
    throw std::invalid_argument("averis transforms wgrad alone: its mean is not transformed");
  if (gemm == Gemm::wgrad && g.b.source == Source::forward)
    throw std::invalid_argument("averis splits X in high precision: source input");
}

Recipe recipe(std::string name, const Options& chosen) {
  Recipe r = plain_recipe(std::move(name));
  for (GemmRecipe* g : {&r.fprop, &r.dgrad, &r.wgrad}) g->scheme = scheme_recipe("averis", chosen);
  r.dgrad.a.stochastic = r.wgrad.a.stochastic = true;
  return r;
}

/// `averis` rounds stochastically what is rounded so in NVIDIA's recipe, the first version every cast.
std::vector<Recipe> recipes() {
  Recipe averis = recipe("averis", {}), v1 = recipe("averis_fp4mean", {{"mean", "fp4"}}), rht = averis;
  for (GemmRecipe* g : {&v1.fprop, &v1.dgrad, &v1.wgrad}) g->a.stochastic = g->b.stochastic = true;
  rht.name = "averis_rht";
  rht.wgrad.a.rht = rht.wgrad.b.rht = 16;
  return {averis, v1, rht};
}

}  // namespace

constinit const Scheme averis{
    .name = "averis",
    .options = options,
    .validate = validate,
    .lower = [](const Product& p,
                const Kernels& k) { return p.gemm == Gemm::wgrad ? lower_wgrad(p, k) : lower_rows(p, k); },
    .recipes = recipes,
};

}  // namespace nvfp4::scheme
