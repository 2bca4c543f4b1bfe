#include <stdexcept>
#include <string>

#include <nvfp4/kernels.hpp>
#include <nvfp4/scheme.hpp>

#include "schemes.hpp"

/// Quartet II (arXiv 2601.22813). With MSE(a, b) the MS-EDEN (nvfp4/eden.hpp) of both operands, each rotated along the
/// contracted dimension by one random Hadamard transform, so that the rotations cancel,
///
///   fprop  Y  = Q(X) Q(W)^T                    dialect quartet2, or quartet2_4over6: a recipe of scheme plain
///   dgrad  dX = MSE(D, dq(Q(W))^T)
///   wgrad  dW = MSE(D^T, dq(Q(X))^T)
///
/// so that the backward pass differentiates what the forward pass computed, and is unbiased but for MS-EDEN's own bias.
///
/// What the sources leave open, and what is done here. The signs are drawn from the layer's seed, for both products alike; a
/// correction is rounded by bits of the operand's own stream. D is transformed as BF16 on a tensor core and rounded to BF16,
/// the decoded X and W in FP32 by chains of FMAs; the entry of a transform of 128 is 2^-3.5 rounded to its operand's type, and
/// so a product comes out as 1 - 1.1e-4 of itself (exactly: tests/quartet2_test.cpp). Scales are corrected once, after E4M3,
/// as in the authors' eden_fp4 and in their Python; their fused kernels correct BF16 scales.
namespace nvfp4::scheme {
namespace {

/// `corr_group`: columns that share a correction. d, as in the authors' code, is the size of the transform; 16 is the paper's;
/// 256 is what the shuffles of their eden_fp4 reach.
constexpr std::string_view groups[] = {"16", "d", "256"};
constexpr Option options[] = {{"corr_group", "d", groups}};

Operand eden(const Product& p, const OperandRecipe& o, const Side& side, const RandomBits& bits,
             const Kernels& kernels) {
  const std::string group(p.option("corr_group"));
  Matrix y = transformed(o, side, bits, kernels);
  BlockScaledTensor q = kernels.quantize_eden(y.view(), {group == "d" ? o.rht : std::stoi(group), bits}, {});
  return {.quantized = std::move(q), .transformed = std::move(y)};
}

std::vector<Term> lower(const Product& p, const Kernels& kernels) {
  return {
      {.a = eden(p, p.recipe.a, p.a, p.bits(0), kernels), .b = eden(p, p.recipe.b, p.b, p.bits(1), kernels)}};
}

void validate(const GemmRecipe& g, Gemm gemm) {
  if (gemm == Gemm::fprop) throw std::invalid_argument("quartet2 is of dgrad and wgrad");
  for (const OperandRecipe* o : {&g.a, &g.b})
    if (o->dialect != "quartet2_eden" || o->block != BlockShape{1, 16} || o->rht < 16 ||
        o->tensor_scale == TensorScale::row)
      throw std::invalid_argument(
          "quartet2 takes dialect quartet2_eden in 1x16 blocks, one scale a tensor, after a transform of 16 "
          "or "
          "more");
  if (g.a.signs != g.b.signs)
    throw std::invalid_argument("quartet2 transforms both operands by the same signs");
}

std::vector<Recipe> recipes() {
  const OperandRecipe forward{.dialect = "quartet2"};
  OperandRecipe backward{.dialect = "quartet2_eden", .rht = 128, .signs = Signs::seed};
  Recipe r = plain_recipe("quartet2");
  r.fprop.a = r.fprop.b = forward;
  for (GemmRecipe* g : {&r.dgrad, &r.wgrad}) {
    g->scheme = scheme_recipe("quartet2", {});
    g->a = g->b = backward;
    g->b.source = Source::forward;
  }
  return {r};
}

}  // namespace

constinit const Scheme quartet2{
    .name = "quartet2",
    .options = options,
    .validate = validate,
    .lower = lower,
    .recipes = recipes,
};

}  // namespace nvfp4::scheme
