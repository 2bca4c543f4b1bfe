#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include <nvfp4/kernels.hpp>
#include <nvfp4/scheme.hpp>

#include "columns.hpp"
#include "schemes.hpp"

/// ARCQuant: augmented residual channels (arXiv 2601.07475), fprop alone. The channels are put in ascending order of
/// their absolute maxima over X, ties as they come. The last S, the outliers o, are quantized twice:
///
///   R_o = X_o - dq(Q(X)_o)
///   Y   = [Q(X) | Q(R_o)] [Q(W) | Q(W)_o]^T = Q(X) Q(W)^T + Q(R_o) Q(W)_o^T                one GEMM over K + S
///
/// S is the number of channels above tau = M / 8, M the largest of those maxima, rounded up. Q(R_o) has the tensor scale of
/// Q(X); the codes and scales of W_o are copies.
///
/// What the paper leaves open, and what is done here: R_o is in FP32. Channels that are no multiple of 16 are filled up by
/// zero channels, which come first, so that o begins with a block. Without outliers (S = 0) it is scheme plain: the channels
/// stay as they are. Order and S are the state, calibrated on the layer's own X.
///
/// The authors' code (dialect arcquant) differs, and so does mode `code`: S is the number, a token on average, of elements
/// above an eighth of their token's largest, both with their signs; the tensor scale of W comes from its largest element, the
/// sign kept, so that blocks of a large negative one saturate; and R_o is made of elements divided by the tensor scale, and
/// rounded to BF16.
namespace nvfp4::scheme {
namespace {

/// `channels`: S before it is rounded up to a multiple of `multiple`: 16, in code 64. `layout`: interleaved, as in code, puts
/// each block of R_o after the block of X_o that it belongs to; only the order of K differs.
constexpr std::string_view modes[] = {"paper", "code"}, calibrated[] = {"calibrated"},
                           multiples[] = {"by_mode", "16", "64"},
                           layouts[] = {"by_mode", "concatenated", "interleaved"};
constexpr Option options[] = {
    {"mode", "paper", modes},
    {"channels", "calibrated", calibrated, 0, std::int64_t{1} << 30},
    {"layout", "by_mode", layouts},
    {"multiple", "by_mode", multiples},
};

bool is_code(const Product& p) { return p.option("mode") == "code"; }

/// Of an option that has a value a mode.
std::string_view option(const Product& p, std::string_view name, std::string_view paper,
                        std::string_view code) {
  const std::string_view chosen = p.option(name);
  return chosen != "by_mode" ? chosen : is_code(p) ? code : paper;
}

/// Over the tokens; a NaN is none.
std::vector<float> channel_maxima(MatrixView x, const Kernels& kernels) {
  const Matrix values = converted(x, Dtype::fp32, kernels);
  std::vector<float> maxima(static_cast<std::size_t>(x.cols));
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::size_t j = 0; j < maxima.size(); ++j)
      maxima[j] = std::max(maxima[j], std::fabs(values.f32()[i * x.cols + static_cast<std::int64_t>(j)]));
  return maxima;
}

/// The state: the channels in their order, and S.
constexpr std::string_view order_name = "order", residuals_name = "residuals",
                           keeps[] = {order_name, residuals_name};

std::int64_t count_of_channels(const std::vector<float>& maxima) {
  const float tau = std::ranges::max(maxima) / 8;
  return std::ranges::count_if(maxima, [&](float m) { return m > tau; });
}

/// The authors' FP32: a share of all elements, times the channels.
std::int64_t count_by_tokens(MatrixView x, const Kernels& kernels) {
  const Matrix values = converted(x, Dtype::fp32, kernels);
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < x.rows; ++i) {
    const float *row = values.f32() + i * x.cols, *end = row + x.cols;
    const float tau = *std::max_element(row, end) / 8;
    count += std::count_if(row, end, [&](float v) { return v > tau; });
  }
  const float share = static_cast<float>(count) / static_cast<float>(x.rows * x.cols);
  return count ? static_cast<std::int64_t>(std::ceil(static_cast<float>(x.cols) * share)) : 0;
}

std::int64_t outliers_of(const Product& p, const std::vector<float>& maxima, const Kernels& kernels) {
  const std::string_view chosen = p.option("channels");
  if (chosen != "calibrated") return std::stoll(std::string(chosen));
  if (maxima.empty()) return 0;
  return is_code(p) ? count_by_tokens(p.a.x, kernels) : count_of_channels(maxima);
}

SchemeState calibrate(const Product& p, const Kernels& kernels) {
  const std::vector<float> maxima = channel_maxima(p.a.x, kernels);
  std::vector<std::int64_t> order(maxima.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::ranges::stable_sort(order, {}, [&](std::int64_t i) { return maxima[static_cast<std::size_t>(i)]; });
  const std::int64_t multiple = option(p, "multiple", "16", "64") == "64" ? 64 : 16,
                     residuals = std::min(up(outliers_of(p, maxima, kernels), multiple), up(p.a.x.cols, 16));
  return {{std::string(order_name), order}, {std::string(residuals_name), {residuals}}};
}

/// Where each channel comes from, -1 being one of zeros; the last `outliers` are quantized twice.
struct Channels {
  std::vector<std::int64_t> order;
  std::int64_t outliers;
};

Channels channels_of(const Product& p) {
  const std::int64_t channels = p.a.x.cols, padded = up(channels, 16);
  const auto order = indices(p, order_name, 0, channels - 1),
             residuals = indices(p, residuals_name, 0, padded);
  if (std::ssize(order) != channels || residuals.size() != 1 || residuals[0] % 16)
    throw std::invalid_argument("arcquant's state: expected the order of " + std::to_string(channels) +
                                " channels, and one multiple of 16 as residuals");
  Channels made{std::vector<std::int64_t>(static_cast<std::size_t>(padded - channels), -1), residuals[0]};
  made.order.insert(made.order.end(), order.begin(), order.end());
  return made;
}

QuantizeSpec spec_of(const OperandRecipe& o) {
  QuantizeSpec spec{.dialect = find_dialect(o.dialect), .block = o.block};
  spec.four_over_six = o.four_over_six;
  return spec;
}

Matrix last_columns(MatrixView x, std::int64_t count) {
  std::vector<std::int64_t> last(static_cast<std::size_t>(count));
  std::iota(last.begin(), last.end(), x.cols - count);
  return gathered(x, last);
}

/// Q(R_o), under the tensor scale of q.
BlockScaledTensor residual_of(const Matrix& x, const BlockScaledTensor& q, std::int64_t outliers,
                              const Kernels& kernels) {
  QuantizeSpec spec = q.spec;
  spec.amax = kernels.amax(x.view(), *spec.dialect);
  const Matrix decoded = last_columns(kernels.dequantize(q).view(), outliers);
  const Matrix r = difference(last_columns(x.view(), outliers), decoded, kernels);
  return kernels.quantize(r.view(), spec, {});
}

/// x over the tensor scale, both in BF16, as the dialect divides.
Matrix divided(const Matrix& x, float tensor_scale, const Kernels& kernels) {
  Matrix scale(1, 1), out = converted(x.view(), Dtype::fp32, kernels);
  *scale.f32() = tensor_scale;
  scale = converted(converted(scale.view(), Dtype::bf16, kernels).view(), Dtype::fp32, kernels);
  for (std::int64_t i = 0; i < out.rows * out.cols; ++i) out.f32()[i] /= *scale.f32();
  return converted(out.view(), Dtype::bf16, kernels);
}

/// The same as the authors' kernel has it. R_o is already divided by the tensor scale, which is that of an amax of 2688: 1.
BlockScaledTensor residual_by_code(const Matrix& x, const BlockScaledTensor& q, std::int64_t outliers,
                                   const Kernels& kernels) {
  QuantizeSpec spec = q.spec;
  spec.amax = 2688.f;
  const Matrix decoded = last_columns(block_scaled_values(q, Dtype::fp32, kernels).view(), outliers);
  const Matrix x_o = divided(last_columns(x.view(), outliers), q.global[0], kernels);
  const Matrix r = converted(difference(x_o, decoded, kernels).view(), Dtype::bf16, kernels);
  return kernels.quantize(r.view(), spec, {});
}

/// q and, again or as residuals, its outliers: `again` has them from its block `first` on.
BlockScaledTensor augmented(const BlockScaledTensor& q, const BlockScaledTensor& again, std::int64_t first,
                            std::int64_t outliers, bool interleaved) {
  const std::int64_t blocks = q.cols / 16, twice = outliers / 16, once = blocks - twice;
  std::vector<BlockColumn> columns;
  for (std::int64_t b = 0; b < blocks; ++b) {
    columns.push_back({&q, b});
    if (interleaved && b >= once) columns.push_back({&again, first + b - once});
  }
  for (std::int64_t b = 0; b < twice && !interleaved; ++b) columns.push_back({&again, first + b});
  return joined(columns);
}

/// The largest element, its sign kept.
float largest(MatrixView w, const Kernels& kernels) {
  const Matrix values = converted(w, Dtype::fp32, kernels);
  const float most = std::accumulate(values.f32(), values.f32() + w.rows * w.cols, 0.f,
                                     [](float a, float b) { return std::max(a, b); });
  if (!(most > 0)) throw std::invalid_argument("arcquant's mode code needs a positive element in W");
  return most;
}

std::vector<Term> lower(const Product& p, const Kernels& kernels) {
  const Channels channels = channels_of(p);
  const std::int64_t outliers = channels.outliers;
  if (outliers == 0 && !is_code(p)) return plain.lower(p, kernels);
  Matrix x = gathered(p.a.x, channels.order), w = gathered(p.b.x, channels.order);
  QuantizeSpec w_spec = spec_of(p.recipe.b);
  if (is_code(p)) w_spec.amax = largest(p.b.x, kernels);
  const BlockScaledTensor q = kernels.quantize(x.view(), spec_of(p.recipe.a), {}),
                          q_w = kernels.quantize(w.view(), w_spec, {}),
                          r = (is_code(p) ? residual_by_code : residual_of)(x, q, outliers, kernels);
  const bool interleaved = option(p, "layout", "concatenated", "interleaved") == "interleaved";
  return {{.a = {.quantized = augmented(q, r, 0, outliers, interleaved), .transformed = std::move(x)},
           .b = {.quantized = augmented(q_w, q_w, (q_w.cols - outliers) / 16, outliers, interleaved),
                 .transformed = std::move(w)},
           .transform = "channels by ascending maxima, the last " + std::to_string(outliers) +
                        " twice: in a as residuals, in b as copies"}};
}

void validate(const GemmRecipe& g, Gemm gemm) {
  if (gemm != Gemm::fprop) throw std::invalid_argument("arcquant is of fprop alone");
  for (const OperandRecipe* o : {&g.a, &g.b}) {
    const Dialect* d = find_dialect(o->dialect);
    if (!d || d->element != Format::e2m1 || o->block != BlockShape{1, 16} || o->stochastic || o->rht ||
        o->tensor_scale == TensorScale::row)
      throw std::invalid_argument(
          "arcquant takes E2M1 in 1x16 blocks, rounded to nearest, one scale a tensor, "
          "no transform");
    if (g.scheme.options.at("mode") == "code" && o->dialect != "arcquant")
      throw std::invalid_argument("arcquant's mode code quantizes by dialect arcquant");
  }
}

std::vector<Recipe> recipes() {
  Recipe paper = plain_recipe("arcquant"), code = plain_recipe("arcquant_code");
  paper.fprop.scheme = scheme_recipe("arcquant", {});
  code.fprop.scheme = scheme_recipe("arcquant", {{"mode", "code"}});
  code.fprop.a.dialect = code.fprop.b.dialect = "arcquant";
  return {paper, code};
}

}  // namespace

constinit const Scheme arcquant{
    .name = "arcquant",
    .options = options,
    .validate = validate,
    .keeps = keeps,
    .calibrate = calibrate,
    .lower = lower,
    .recipes = recipes,
};

}  // namespace nvfp4::scheme
