#include <algorithm>
#include <cmath>
#include <stdexcept>

#include <nvfp4/kernels.hpp>
#include <nvfp4/outliers.hpp>
#include <nvfp4/scheme.hpp>

#include "columns.hpp"
#include "schemes.hpp"

/// CHON's Hot-Channel Patch (arXiv 2602.02047). For a product a b^T, as X W^T, with X~ = dq(Q(X)), W~ = dq(Q(W)) and the
/// residuals R = X - X~, S = W - W~ (the paper's -dX and -dW), the channels I of the largest
///
///   s_j = (1/tokens) ||R_j||_1 + (1/out) ||S_j||_1
///
/// are hot, and get their residuals back:
///
///   Y = X~ W~^T + R_I W~_I^T + X~_I S_I^T = [X~ | R_I | X~_I] [W~ | W~_I | S_I]^T
///
/// which leaves exactly -R_I S_I^T of their error (Lemma A.9). Patch `activation` has the second term alone, `weight` the
/// third; the paper takes `both`, and one kernel over a longer K.
///
/// What the paper leaves open, and what is done here. Two blocks, [X~ | R_I] [W~ | S_I]^T, as the paper has been read, do not
/// leave that error; the three above do. Not given are the share of hot channels (options `channels`, rounded up to a
/// `multiple`), how often they are found anew (`period`, in steps: state.hpp), and which products are patched: whichever has
/// the scheme. Without hot channels a product is scheme plain.
///
/// A column of codes has its own block's scale, so hot columns of several blocks cannot share one as they are. Here a block
/// that has a hot channel is appended whole, codes and scales copied, and meets residuals that are zero in its cold channels:
/// X~_I and W~_I are what they are in X~ and W~, and whatever I is, no code of the base product changes, so that W in 16x16
/// blocks is the same in fprop and dgrad. The price is a K that grows by 32 for each block with a hot channel: the paper's 2k
/// where hot channels fill their blocks. (Channels put in another order first, the hot ones last, as ARCQuant has it, would
/// always take 2k, and change the blocks of X and W with I.)
///
/// R and S are of what was quantized, after the transform where there is one, and in FP32. Quantized themselves, they have
/// their operand's block shape, rounding (by random bits of their own) and tensor scale. A sum of s_j is binary64, the first
/// row first; a NaN adds nothing.
namespace nvfp4::scheme {
namespace {

/// `residuals`: appended to the one product; in NVFP4 products of their own; or dense, in the recipe's operand type, beside the
/// hot columns of the other operand's element * block scale.
constexpr std::string_view shares[] = {"m/64", "m/32", "m/16"}, multiples[] = {"16", "64"},
                           patches[] = {"activation", "weight", "both"},
                           forms[] = {"appended", "separate", "dense"};
constexpr std::int64_t most = std::int64_t{1} << 30;
constexpr Option options[] = {
    {"channels", "m/32", shares, 0, most}, {"multiple", "16", multiples},  {"patch", "both", patches},
    {"residuals", "appended", forms},      {"period", "256", {}, 1, most},
};

/// The state: ascending.
constexpr std::string_view hot_name = "hot_channels", keeps[] = {hot_name};

/// Of m channels.
std::int64_t hot_count(const Product& p, std::int64_t m) {
  const std::string chosen(p.option("channels"));
  const bool is_share = chosen.starts_with("m/");
  const std::int64_t number = std::stoll(chosen.substr(is_share ? 2 : 0)),
                     count = is_share ? up(m, number) / number : number;
  return std::min(up(count, std::stoll(std::string(p.option("multiple")))), m);
}

/// One side of the product before it is patched.
struct Base {
  Operand operand;
  Matrix source;    ///< what was quantized
  Matrix residual;  ///< FP32

  const BlockScaledTensor& codes() const { return *operand.quantized; }
};

Base base(const Product& p, int side, const Kernels& kernels) {
  const Side& s = side ? p.b : p.a;
  Base made;
  made.operand = lowered(side ? p.recipe.b : p.recipe.a, s, p.bits(side), kernels);
  made.source = !made.operand.transformed.bytes.empty() ? made.operand.transformed
                : s.along == Along::tokens              ? transpose(s.x)
                                                        : converted(s.x, s.x.dtype, kernels);
  made.residual = difference(made.source, kernels.dequantize(made.codes()), kernels);
  return made;
}

/// Adds (1/rows) ||R_j||_1.
void add_scores(const Matrix& residual, std::vector<double>& scores) {
  std::vector<double> sums(scores.size());
  for (std::int64_t i = 0; i < residual.rows; ++i)
    for (std::size_t j = 0; j < sums.size(); ++j) {
      const float r = residual.f32()[i * residual.cols + static_cast<std::int64_t>(j)];
      if (!std::isnan(r)) sums[j] += std::fabs(double{r});
    }
  for (std::size_t j = 0; j < sums.size() && residual.rows; ++j)
    scores[j] += sums[j] / static_cast<double>(residual.rows);
}

SchemeState calibrate(const Product& p, const Kernels& kernels) {
  const Base a = base(p, 0, kernels), b = base(p, 1, kernels);
  std::vector<double> scores(static_cast<std::size_t>(a.codes().cols));
  for (const Base* side : {&a, &b}) add_scores(side->residual, scores);
  return {{std::string(hot_name), top_channels(scores, hot_count(p, a.codes().cols))}};
}

using Channels = std::span<const std::int64_t>;

/// The channels of each block that has a hot one, -1 for the cold.
std::vector<std::int64_t> masked_blocks(Channels hot) {
  std::vector<std::int64_t> channels;
  std::int64_t last = -1;
  for (const std::int64_t j : hot) {
    if (j / 16 != last) channels.resize(channels.size() + 16, -1);
    last = j / 16;
    channels[channels.size() - 16 + static_cast<std::size_t>(j % 16)] = j;
  }
  return channels;
}

/// Its blocks that have a hot channel, as they are.
BlockScaledTensor hot_blocks(const BlockScaledTensor& q, Channels hot) {
  std::vector<BlockColumn> columns;
  for (const std::int64_t j : hot)
    if (columns.empty() || columns.back().block != j / 16) columns.push_back({&q, j / 16});
  return joined(columns);
}

/// Q(R_I), or Q(S_I), under the tensor scale of its operand.
BlockScaledTensor quantized_residual(const Product& p, int side, const Base& base, Channels hot,
                                     const Kernels& kernels) {
  QuantizeSpec spec = base.codes().spec;
  spec.amax = kernels.amax(base.source.view(), *spec.dialect);
  if (spec.stochastic) spec.stochastic->random = p.bits(side, 1);
  return kernels.quantize(gathered(base.residual.view(), masked_blocks(hot)).view(), spec, {});
}

/// R_I W~_I^T, or of side 1 X~_I S_I^T.
Term patch(const Product& p, const Base& a, const Base& b, int side, Channels hot, const Kernels& kernels) {
  const Base &patched = side ? b : a, &other = side ? a : b;
  Term term;
  Operand &residual = side ? term.b : term.a, &copy = side ? term.a : term.b;
  if (p.option("residuals") == "dense") {
    const Dtype dtype = p.a.x.dtype;
    residual.dense = converted(gathered(patched.residual.view(), hot).view(), dtype, kernels);
    copy.dense = gathered(block_scaled_values(other.codes(), dtype, kernels).view(), hot);
    term.scaling = output_scaling(other.codes());
  } else {
    residual.quantized = quantized_residual(p, side, patched, hot, kernels);
    copy.quantized = hot_blocks(other.codes(), hot);
  }
  return term;
}

/// One operand of all terms, along K.
Operand appended(const std::vector<Term>& terms, Operand Term::*side, Matrix source) {
  std::vector<BlockColumn> columns;
  for (const Term& term : terms) {
    const BlockScaledTensor& part = *(term.*side).quantized;
    for (std::int64_t b = 0; b < part.blocks_per_row(); ++b) columns.push_back({&part, b});
  }
  return {.quantized = joined(columns), .transformed = std::move(source)};
}

/// Of n contracted channels.
Channels hot_channels(const Product& p, std::int64_t n) {
  const Channels hot = indices(p, hot_name, 0, n - 1);
  if (!std::ranges::is_sorted(hot))
    throw std::invalid_argument(std::string(name(p.gemm)) + "'s state 'hot_channels': expected to ascend");
  return hot;
}

std::vector<Term> lower(const Product& p, const Kernels& kernels) {
  if (p.state.find(hot_name)->second.empty()) return plain.lower(p, kernels);
  Base a = base(p, 0, kernels), b = base(p, 1, kernels);
  const Channels hot = hot_channels(p, a.codes().cols);
  std::vector<Term> terms{{.a = a.operand, .b = b.operand}};
  if (p.option("patch") != "weight") terms.push_back(patch(p, a, b, 0, hot, kernels));
  if (p.option("patch") != "activation") terms.push_back(patch(p, a, b, 1, hot, kernels));
  if (p.option("residuals") != "appended") return terms;
  return {{.a = appended(terms, &Term::a, std::move(a.source)),
           .b = appended(terms, &Term::b, std::move(b.source)),
           .transform = "blocks of " + std::to_string(hot.size()) +
                        " hot channels appended: residuals in one operand, copies in the other"}};
}

void validate(const GemmRecipe& g, Gemm) {
  require_nvfp4(g, "chon");
  if (g.a.source == Source::forward || g.b.source == Source::forward)
    throw std::invalid_argument("chon's residuals are of high precision: source input");
}

std::vector<Recipe> recipes() {
  Recipe r = nvidia_recipe("chon");
  r.fprop.scheme = scheme_recipe("chon", {});
  return {r};
}

}  // namespace

constinit const Scheme chon{
    .name = "chon",
    .options = options,
    .validate = validate,
    .keeps = keeps,
    .calibrate = calibrate,
    .lower = lower,
    .recipes = recipes,
};

}  // namespace nvfp4::scheme
