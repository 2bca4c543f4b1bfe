#include <algorithm>
#include <numeric>
#include <stdexcept>

#include <nvfp4/kernels.hpp>
#include <nvfp4/scheme.hpp>

#include "columns.hpp"
#include "schemes.hpp"

/// TetraJet-v2 (arXiv 2510.27527): six quantizers by dialect tetrajet_v2, Q1 and Q2 to nearest, the others at random,
///
///   fprop  Y  = Q1(X) Q2(W)^T
///   dgrad  dX = Q3(D H1) Q4(dq(Q2(W))^T H1)^T       H1 a random Hadamard transform of 16 along the outputs
///   wgrad  dW = Q5(D^T H2) Q6(dq(Q1(X))^T H2)^T     H2 one along the tokens
///
/// Q4 and Q6 are aligned: they start from the forward codes. Operands are FP32, as the authors cast them. Each operand has
/// random bits of its own; in the authors' kernels Q3 and Q4, and Q5 and Q6, share theirs by position, so that an element of
/// dW where row and column agree is biased. The signs of H1 and H2 are drawn, by one seed. Dialect tetrajet_v2_unbiased in
/// dgrad and wgrad gives those four Quartet II's headroom, without which the largest elements of blocks saturate.
///
/// OutControl, option outlier_channels: that share of the input channels in percent, those of the largest L2 norm over the
/// tokens of X, is multiplied in MXFP8 (scales rounded up, to nearest, no transform) and the rest c in FP4:
///
///   fprop  Y  = Q1(X_c) Q2(W_c)^T + F(X_o) F(W_o)^T
///   dgrad  as above, of the merged weight [dq(Q2(W_c)) dq(F(W_o))] in the channels' own order
///   wgrad  the columns c of dW as above, the columns o F(D^T) F(dq(F(X_o))^T)^T
///
/// The state is the outliers, by descending norm, ties as they come; c keeps its order (the authors' code sorts it by norm
/// too). Their number is round(share * m) as in the paper, or by option count the code's: cut, rounded up to 128, at most the
/// whole 128s of m. A sum of squares is binary64's, the first token first; a NaN counts 0. MXFP8 terms are dense, of decoded
/// values in BF16, which hold them down to 2^-126. The FP4 term of wgrad has rows of zeros for o, its other term for c.
namespace nvfp4::scheme {
namespace {

constexpr std::string_view counts[] = {"paper", "code"};
constexpr Option options[] = {{"outlier_channels", "0", {}, 0, 100}, {"count", "paper", counts}};
constexpr std::string_view outliers_name = "outlier_channels", keeps[] = {outliers_name};

std::int64_t count_of(const Product& p, std::int64_t channels) {
  const std::int64_t percent = std::stoll(std::string(p.option("outlier_channels")));
  if (p.option("count") == "paper") return (channels * percent * 2 + 100) / 200;
  return std::min(channels / 128, (channels * percent / 100 + 127) / 128) * 128;
}

std::vector<double> squared_norms(MatrixView x, const Kernels& kernels) {
  const Matrix values = converted(x, Dtype::fp32, kernels);
  std::vector<double> sums(static_cast<std::size_t>(x.cols));
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) {
    const double v = values.f32()[i];
    if (v == v) sums[static_cast<std::size_t>(i % x.cols)] += v * v;
  }
  return sums;
}

SchemeState calibrate(const Product& p, const Kernels& kernels) {
  if (p.fprop) return *p.fprop;
  const std::vector<double> norms = squared_norms(p.a.x, kernels);
  std::vector<std::int64_t> order(norms.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::ranges::stable_sort(order, std::ranges::greater{},
                           [&](std::int64_t j) { return norms[static_cast<std::size_t>(j)]; });
  order.resize(static_cast<std::size_t>(count_of(p, p.a.x.cols)));
  return {{std::string(outliers_name), order}};
}

/// The channels of each kind, and for each channel its place in [rest | outliers].
struct Channels {
  std::vector<std::int64_t> rest, outliers, place;

  std::int64_t count() const { return std::ssize(place); }
  bool is_outlier(std::int64_t channel) const {
    return place[static_cast<std::size_t>(channel)] >= std::ssize(rest);
  }
};

Channels channels_of(const Product& p) {
  const std::int64_t count = (p.gemm == Gemm::fprop ? p.a : p.b).x.cols;
  const auto chosen = indices(p, outliers_name, 0, count - 1);
  if (std::ssize(chosen) == count)
    throw std::invalid_argument("tetrajet_v2's outlier_channels: expected fewer than all " +
                                std::to_string(count) + " channels");
  if (p.fprop && p.state != *p.fprop)
    throw std::invalid_argument("tetrajet_v2's outlier_channels: expected fprop's in " +
                                std::string(name(p.gemm)));
  Channels c{{}, {chosen.begin(), chosen.end()}, std::vector<std::int64_t>(static_cast<std::size_t>(count))};
  for (std::int64_t j = 0; j < count; ++j)
    if (std::ranges::count(chosen, j) == 0) c.rest.push_back(j);
  std::int64_t at = 0;
  for (const auto* kind : {&c.rest, &c.outliers})
    for (const std::int64_t j : *kind) c.place[static_cast<std::size_t>(j)] = at++;
  return c;
}

/// What MXFP8 makes of x, whose blocks lie along its rows or its tokens; along tokens transposed. FP32.
Matrix through_mxfp8(MatrixView x, Along along, const Kernels& kernels) {
  const QuantizeSpec spec = default_spec(dialects::mxfp8_ceil::info);
  return kernels.dequantize(
      (along == Along::row ? kernels.quantize : kernels.quantize_transposed)(x, spec, {}));
}

Operand dense(const Matrix& m, const Kernels& kernels) {
  return {.dense = converted(m.view(), Dtype::bf16, kernels)};
}

/// Columns of a, then of b.
Matrix beside(const Matrix& a, const Matrix& b) {
  Matrix out(a.rows, a.cols + b.cols);
  for (std::int64_t i = 0; i < out.rows; ++i) {
    float* row = out.f32() + i * out.cols;
    std::copy_n(a.f32() + i * a.cols, a.cols, row);
    std::copy_n(b.f32() + i * b.cols, b.cols, row + a.cols);
  }
  return out;
}

/// A matrix of the layer as its forward codes have it, in the channels' own order: those of fprop's FP4, and MXFP8.
Matrix joined(const Side& side, const Channels& c, const Kernels& kernels) {
  const Matrix outliers = through_mxfp8(gathered(side.x, c.outliers).view(), Along::row, kernels);
  return gathered(beside(kernels.dequantize(*side.forward->quantized), outliers).view(), c.place);
}

/// The same with zeros in the channels of one kind.
Matrix only(const Matrix& all, const Channels& c, bool outliers) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(c.count()));
  for (std::int64_t j = 0; j < c.count(); ++j)
    order[static_cast<std::size_t>(j)] = c.is_outlier(j) == outliers ? j : -1;
  return gathered(all.view(), order);
}

/// The second operand of dgrad or wgrad, of what its forward codes decode to.
Operand requantized(const Product& p, const Matrix& decoded, const Kernels& kernels) {
  OperandRecipe o = p.recipe.b;
  o.source = Source::input;
  return lowered(o, {decoded.view(), p.b.along}, p.bits(1), kernels);
}

std::vector<Term> lower_fprop(const Product& p, const Channels& c, const Kernels& kernels) {
  const auto fp4 = [&](int side, const OperandRecipe& o, MatrixView x) {
    return lowered(o, {gathered(x, c.rest).view(), Along::row}, p.bits(side), kernels);
  };
  const auto fp8 = [&](MatrixView x) {
    return dense(through_mxfp8(gathered(x, c.outliers).view(), Along::row, kernels), kernels);
  };
  return {{.a = fp4(0, p.recipe.a, p.a.x), .b = fp4(1, p.recipe.b, p.b.x)},
          {.a = fp8(p.a.x), .b = fp8(p.b.x)}};
}

std::vector<Term> lower_wgrad(const Product& p, const Channels& c, const Kernels& kernels) {
  const Matrix x = joined(p.b, c, kernels), x_o = only(x, c, true);
  return {
      {.a = lowered(p.recipe.a, p.a, p.bits(0), kernels), .b = requantized(p, only(x, c, false), kernels)},
      {.a = dense(through_mxfp8(p.a.x, Along::tokens, kernels), kernels),
       .b = dense(through_mxfp8(x_o.view(), Along::tokens, kernels), kernels)}};
}

std::vector<Term> lower(const Product& p, const Kernels& kernels) {
  const Channels c = channels_of(p);
  if (c.outliers.empty()) return plain.lower(p, kernels);
  if (p.gemm == Gemm::fprop) return lower_fprop(p, c, kernels);
  if (p.gemm == Gemm::wgrad) return lower_wgrad(p, c, kernels);
  return {{.a = lowered(p.recipe.a, p.a, p.bits(0), kernels),
           .b = requantized(p, joined(p.b, c, kernels), kernels)}};
}

void validate(const GemmRecipe& g, Gemm gemm) {
  for (const OperandRecipe* o : {&g.a, &g.b}) {
    const Dialect* d = find_dialect(o->dialect);
    if (!d || d->element != Format::e2m1) throw std::invalid_argument("tetrajet_v2 quantizes to E2M1");
  }
  if (gemm == Gemm::fprop && (g.a.rht || g.a.stochastic || g.b.stochastic))
    throw std::invalid_argument("tetrajet_v2 rounds fprop to nearest, without a transform");
  if (gemm != Gemm::fprop && g.b.source != Source::forward)
    throw std::invalid_argument("tetrajet_v2 takes b from the forward codes: source forward");
}

OperandRecipe nearest() { return {.dialect = "tetrajet_v2", .tensor_scale = TensorScale::row}; }

OperandRecipe at_random(Source source) {
  OperandRecipe o = nearest();
  o.stochastic = true;
  o.rht = 16;
  o.signs = Signs::seed;
  o.source = source;
  return o;
}

Recipe recipe(std::string name, const Options& chosen) {
  GemmRecipe forward{nearest(), nearest()}, backward{at_random(Source::input), at_random(Source::forward)};
  forward.scheme = backward.scheme = scheme_recipe("tetrajet_v2", chosen);
  return {.name = std::move(name),
          .operands = Dtype::fp32,
          .fprop = forward,
          .dgrad = backward,
          .wgrad = backward};
}

/// The authors' configurations TJv2-base, which is what comparisons by others run, and TJv2-mix_fp8, whose outliers come
/// from steps 501 to 550 of a training that starts as the former.
std::vector<Recipe> recipes() {
  return {recipe("tetrajet_v2", {}), recipe("tetrajet_v2_outcontrol", {{"outlier_channels", "10"}})};
}

}  // namespace

constinit const Scheme tetrajet_v2{
    .name = "tetrajet_v2",
    .options = options,
    .validate = validate,
    .keeps = keeps,
    .calibrate = calibrate,
    .joins_forward = true,
    .lower = lower,
    .recipes = recipes,
};

}  // namespace nvfp4::scheme
