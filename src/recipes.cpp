#include <nvfp4/recipe.hpp>

#include <algorithm>
#include <iterator>
#include <stdexcept>

#include <nvfp4/accumulation.hpp>
#include <nvfp4/hadamard.hpp>
#include <nvfp4/scheme.hpp>

namespace nvfp4 {
namespace {

constexpr BlockShape tile{16, 16};

OperandRecipe by(std::string_view dialect) { return {.dialect = std::string(dialect)}; }

/// The same quantizer for both operands of every product.
Recipe uniform(std::string name, const OperandRecipe& operand, std::string accumulate) {
  const GemmRecipe gemm{operand, operand, std::move(accumulate)};
  return {.name = std::move(name), .fprop = gemm, .dgrad = gemm, .wgrad = gemm};
}

struct Techniques {
  bool rounding = true, transform = true, tiles = true, everywhere = false;
};

/// "Pretraining Large Language Models with NVFP4" (arXiv 2509.25149), section 4: weights in 16x16 blocks, a Hadamard
/// transform of 16 on both operands of wgrad, stochastic rounding of gradients, in dgrad and wgrad. Each technique
/// can be left out; without any it is nvfp4_plain.
Recipe nvidia(std::string name, const Techniques& t) {
  Recipe r = plain_recipe(std::move(name));
  if (t.tiles) r.fprop.b.block = r.dgrad.b.block = tile;
  if (t.transform) r.wgrad.a.rht = r.wgrad.b.rht = 16;
  r.dgrad.a.stochastic = r.wgrad.a.stochastic = t.rounding;
  if (t.everywhere)
    for (OperandRecipe* operand : {&r.fprop.a, &r.fprop.b, &r.dgrad.b, &r.wgrad.b})
      operand->stochastic = true;
  return r;
}

/// Transformer Engine's row-scaled tensors: activations alone, an amax for each row (in wgrad, each column of X). No
/// transform, no 2D scaling, no stochastic rounding goes with it.
Recipe row_scaled() {
  Recipe r = plain_recipe("te_rowscaled");
  r.fprop.a.tensor_scale = r.wgrad.b.tensor_scale = TensorScale::row;
  return r;
}

/// OCP MX with the scales that NVIDIA rounds up (2509.25149, appendix B.4), so that nothing saturates.
Recipe mxfp4() {
  OperandRecipe operand = by("mxfp4_ceil");
  operand.block = {1, 32};
  return uniform("mxfp4", operand, "sm100_mxfp4");
}

/// "Training LLMs with MXFP4" (arXiv 2502.20586), its forward pass in BF16: both gradients unbiased, and their variance
/// bounded by a transform of 64 with drawn signs.
Recipe mxfp4_train() {
  Recipe r = uniform("mxfp4_train", {}, "sm100_bf16");
  OperandRecipe operand = by("mxfp4_unbiased");
  operand.block = {1, 32};
  operand.stochastic = true;
  operand.rht = 64;
  operand.signs = Signs::seed;
  r.dgrad = r.wgrad = {operand, operand, "sm100_mxfp4"};
  return r;
}

Recipe four_over_six() {
  OperandRecipe operand = by("te_4over6");
  operand.four_over_six = {256, Select::mse, false};
  return uniform("four_over_six", operand, "sm100_nvfp4");
}

bool is_quantized(const OperandRecipe& o) { return !o.dialect.empty(); }

QuantizeSpec spec_of_valid(const OperandRecipe& o) {
  const Dialect* dialect = find_dialect(o.dialect);
  if (!dialect) throw std::invalid_argument("no dialect '" + o.dialect + "'");
  QuantizeSpec spec{.dialect = dialect, .block = o.block, .tensor_scale = o.tensor_scale};
  spec.four_over_six = o.four_over_six;
  if (o.stochastic) spec.stochastic = Stochastic{};
  validate(spec);
  return spec;
}

void validate(const OperandRecipe& o) {
  if (o.rht != 0) validate(Hadamard{.signs = o.signs, .size = o.rht}, 1, o.rht);
  if (!is_quantized(o) && o != OperandRecipe{.source = o.source})
    throw std::invalid_argument("a dense operand has no options of a quantized one");
  if (is_quantized(o)) spec_of_valid(o);
}

void validate(const GemmRecipe& g, Gemm gemm) {
  if (is_quantized(g.a) != is_quantized(g.b))
    throw std::invalid_argument("both operands are quantized, or neither");
  if (g.a.rht != g.b.rht)
    throw std::invalid_argument("both operands have the same transform, so that it cancels");
  for (const std::string* name : {&g.accumulate, &g.accumulate_dense})
    if (!find_accumulation(*name)) throw std::invalid_argument("no accumulation '" + *name + "'");
  const bool has_forward = gemm != Gemm::fprop && is_quantized(g.b);
  if (g.a.source == Source::forward || (g.b.source == Source::forward && !has_forward))
    throw std::invalid_argument("only b of dgrad and wgrad has codes of fprop to come from");
  for (const OperandRecipe* operand : {&g.a, &g.b}) try {
      validate(*operand);
    } catch (const std::invalid_argument& e) {
      throw std::invalid_argument(std::string("operand ") + (operand == &g.a ? "a: " : "b: ") + e.what());
    }
  validate(g.scheme);
  find_scheme(g.scheme.name)->validate(g, gemm);
}

/// What a backward product takes from the forward codes is there.
void validate_forward(const GemmRecipe& g, const GemmRecipe& fprop) {
  if (g.b.source == Source::input) return;
  if (find_scheme(g.scheme.name)->joins_forward) {
    if (g.scheme != fprop.scheme)
      throw std::invalid_argument("source forward: " + g.scheme.name +
                                  " joins what its own fprop split, by the same options");
    return;
  }
  if (fprop.scheme.name != "plain")
    throw std::invalid_argument("source forward: of " + fprop.scheme.name +
                                ", fprop has no codes of the whole matrix");
}

/// Operands of dialect te that the other one can take the place of.
std::vector<OperandRecipe*> replaceable(GemmRecipe& g, const Dialect& by) {
  std::vector<OperandRecipe*> found;
  for (OperandRecipe* o : {&g.a, &g.b})
    if (o->dialect == "te" && (!o->stochastic || by.stochastic)) found.push_back(o);
  return found;
}

std::vector<Recipe> all_recipes() {
  std::vector<Recipe> all{
      uniform("bf16", {}, "sm100_bf16"),
      plain_recipe("nvfp4_plain"),
      nvidia_recipe("nvidia"),
      nvidia("nvidia_no_sr", {.rounding = false}),
      nvidia("nvidia_no_rht", {.transform = false}),
      nvidia("nvidia_no_2d", {.tiles = false}),
      nvidia("nvidia_sr_everywhere", {.everywhere = true}),
      row_scaled(),
      mxfp4(),
      mxfp4_train(),
      four_over_six(),
  };
  for (const Scheme* scheme : schemes()) std::ranges::move(scheme->recipes(), std::back_inserter(all));
  return all;
}

}  // namespace

Recipe nvidia_recipe(std::string name) { return nvidia(std::move(name), {}); }

Recipe plain_recipe(std::string name) { return uniform(std::move(name), by("te"), "sm100_nvfp4"); }

std::span<const Recipe> recipes() {
  static const std::vector<Recipe> table = all_recipes();
  return table;
}

const Recipe* find_recipe(std::string_view name) {
  for (const Recipe& r : recipes())
    if (r.name == name) return &r;
  return nullptr;
}

void validate(const Recipe& recipe) {
  for (const Gemm gemm : all_gemms) try {
      validate(recipe[gemm], gemm);
    } catch (const std::invalid_argument& e) {
      throw std::invalid_argument(std::string(name(gemm)) + ": " + e.what());
    }
  for (const GemmRecipe* g : {&recipe.dgrad, &recipe.wgrad}) validate_forward(*g, recipe.fprop);
}

Recipe with_dialect(Recipe recipe, std::string_view dialect, const FourOverSix& options) {
  const Dialect* by = find_dialect(dialect);
  if (!by) throw std::invalid_argument("no dialect '" + std::string(dialect) + "'");
  bool replaced = false;
  for (GemmRecipe* g : {&recipe.fprop, &recipe.dgrad, &recipe.wgrad})
    for (OperandRecipe* o : replaceable(*g, *by)) {
      o->dialect = dialect;
      o->four_over_six = options;
      replaced = true;
    }
  if (!replaced)
    throw std::invalid_argument("recipe " + recipe.name + " has no operand by te" +
                                (by->stochastic ? "" : " that is rounded to nearest") + ", which " +
                                std::string(dialect) + " could take the place of");
  validate(recipe);
  recipe.name += "+" + std::string(dialect);
  return recipe;
}

}  // namespace nvfp4
