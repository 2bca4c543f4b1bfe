#include <nvfp4/linear.hpp>

#include <cstring>
#include <stdexcept>

#include <nvfp4/accumulation.hpp>
#include <nvfp4/kernels.hpp>
#include <nvfp4/producers.hpp>

namespace nvfp4 {
namespace {

/// With zeros appended: columns up to a multiple, or rows where those are tokens.
Matrix padded(MatrixView x, Along along, std::int64_t multiple) {
  const auto up = [&](std::int64_t n) { return (n + multiple - 1) / multiple * multiple; };
  Matrix out(along == Along::tokens ? up(x.rows) : x.rows, along == Along::row ? up(x.cols) : x.cols,
             x.dtype);
  const auto size = static_cast<std::int64_t>(size_of(x.dtype));
  for (std::int64_t i = 0; i < x.rows; ++i)
    std::memcpy(out.bytes.data() + i * out.cols * size,
                static_cast<const std::byte*>(x.data) + i * x.cols * size,
                static_cast<std::size_t>(x.cols * size));
  return out;
}

QuantizeSpec spec_of(const OperandRecipe& o, const RandomBits& bits) {
  QuantizeSpec spec{.dialect = find_dialect(o.dialect), .block = o.block, .tensor_scale = o.tensor_scale};
  spec.four_over_six = o.four_over_six;
  if (o.stochastic) spec.stochastic = Stochastic{.random = bits};
  return spec;
}

/// The contracted dimension lies along x's rows, or along its tokens.
Operand operand(const OperandRecipe& o, MatrixView x, Along along, const RandomBits& bits,
                const Kernels& kernels) {
  if (o.dialect.empty())
    return {.dense = along == Along::tokens ? transpose(x) : converted(x, x.dtype, kernels)};
  const Producer producer{
      .name = "", .spec = spec_of(o, bits), .rht = o.rht, .signs = o.signs, .seed = bits.seed};
  if (o.rht == 0) return {.quantized = quantize_operand(producer, x, along, kernels)};
  const Matrix whole = padded(x, along, o.rht);
  Matrix transformed = kernels.hadamard(whole.view(), transform_of(producer, x.dtype, along));
  return {.quantized = quantize_operand(producer, whole.view(), along, kernels),
          .transformed = along == Along::tokens ? transpose(transformed.view()) : std::move(transformed)};
}

Term multiply(const GemmRecipe& recipe, Operand a, Operand b, const Kernels& kernels) {
  Term term{.a = std::move(a), .b = std::move(b)};
  const Accumulation& accumulation = *find_accumulation(recipe.accumulate);
  if (!term.a.quantized) {
    term.out = kernels.multiply_dense(term.a.dense.view(), term.b.dense.view(), accumulation);
    return term;
  }
  term.scaling = output_scaling(*term.a.quantized, *term.b.quantized);
  if (recipe.a.rht)
    term.transform = "Hadamard transform of " + std::to_string(recipe.a.rht) + ", signs " +
                     std::string(name(recipe.a.signs));
  term.out = gemm(*term.a.quantized, *term.b.quantized, accumulation, {.scaling = term.scaling}, kernels);
  return term;
}

/// A matrix of the layer and what is done to it: dgrad and wgrad contract along columns of some.
struct Side {
  MatrixView x;
  Along along;
  const Operand* forward = nullptr;  ///< fprop's operand of the same matrix, where there is one
};

class Layer {
 public:
  Layer(const Recipe& recipe, std::uint64_t seed, const Kernels& kernels)
      : recipe_(recipe), seed_(seed), kernels_(kernels) {}

  Pass pass(Gemm gemm, const Side& a, const Side& b) const {
    const GemmRecipe& recipe = recipe_[gemm];
    Pass made;
    made.terms.push_back(
        multiply(recipe, side(recipe.a, a, 2 * int(gemm)), side(recipe.b, b, 2 * int(gemm) + 1), kernels_));
    made.out = converted(made.terms[0].out.view(), recipe.out, kernels_);
    return made;
  }

 private:
  Operand side(const OperandRecipe& o, const Side& s, int stream) const {
    const RandomBits bits{.seed = seed_, .stream = static_cast<std::uint64_t>(stream)};
    if (o.source == Source::input) return operand(o, s.x, s.along, bits, kernels_);
    const Matrix decoded = kernels_.dequantize(*s.forward->quantized);
    return operand(o, decoded.view(), s.along, bits, kernels_);
  }

  const Recipe& recipe_;
  std::uint64_t seed_;
  const Kernels& kernels_;
};

void require(bool fits, const std::string& expected, std::int64_t found) {
  if (!fits) throw std::invalid_argument("expected " + expected + ", found " + std::to_string(found));
}

}  // namespace

LinearResult linear(const Recipe& recipe, MatrixView x, MatrixView w, MatrixView dy, std::uint64_t seed,
                    const Kernels& kernels) {
  validate(recipe);
  require(w.cols == x.cols, "W with the columns of X, " + std::to_string(x.cols), w.cols);
  require(dy.rows == x.rows, "dY with the rows of X, " + std::to_string(x.rows), dy.rows);
  require(dy.cols == w.rows, "dY with a column for each row of W, " + std::to_string(w.rows), dy.cols);
  const Matrix X = converted(x, recipe.operands, kernels), W = converted(w, recipe.operands, kernels),
               D = converted(dy, recipe.operands, kernels);
  const Layer layer(recipe, seed, kernels);
  LinearResult result;
  result.fprop = layer.pass(Gemm::fprop, {X.view(), Along::row}, {W.view(), Along::row});
  const Term& forward = result.fprop.terms[0];
  result.dgrad = layer.pass(Gemm::dgrad, {D.view(), Along::row}, {W.view(), Along::tokens, &forward.b});
  result.wgrad = layer.pass(Gemm::wgrad, {D.view(), Along::tokens}, {X.view(), Along::tokens, &forward.a});
  return result;
}

}  // namespace nvfp4
