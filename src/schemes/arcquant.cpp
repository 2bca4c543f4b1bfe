#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>

#include <nvfp4/kernels.hpp>
#include <nvfp4/scheme.hpp>

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
/// zero channels, which come first, so that o begins with a block. Without outliers (S = 0) the channels stay as they are.
/// Order and S come from the layer's own X.
namespace nvfp4::scheme {
namespace {

/// `channels`: S before it is rounded up to a multiple of `multiple`. `layout`: interleaved puts each block of R_o after the
/// block of X_o that it belongs to, as the authors' kernels do; only the order of K differs.
constexpr std::string_view calibrated[] = {"calibrated"}, multiples[] = {"16", "64"},
                           layouts[] = {"concatenated", "interleaved"};
constexpr Option options[] = {
    {"channels", "calibrated", calibrated, 0, std::int64_t{1} << 30},
    {"layout", "concatenated", layouts},
    {"multiple", "16", multiples},
};

constexpr std::int64_t up(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
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

/// Where each channel comes from, -1 being one of zeros; the last `outliers` are quantized twice.
struct Channels {
  std::vector<std::int64_t> order;
  std::int64_t outliers;
};

std::int64_t outliers_of(const Product& p, const std::vector<float>& maxima) {
  const std::string_view chosen = p.option("channels");
  if (chosen != "calibrated") return std::stoll(std::string(chosen));
  const float tau = maxima.empty() ? 0 : std::ranges::max(maxima) / 8;
  return std::ranges::count_if(maxima, [&](float m) { return m > tau; });
}

Channels channels_of(const Product& p, const Kernels& kernels) {
  const std::vector<float> maxima = channel_maxima(p.a.x, kernels);
  const std::int64_t padded = up(p.a.x.cols, 16), zeros = padded - p.a.x.cols;
  std::vector<std::int64_t> order(static_cast<std::size_t>(padded), -1);
  const auto first = order.begin() + zeros;
  std::iota(first, order.end(), std::int64_t{0});
  std::stable_sort(first, order.end(), [&](std::int64_t i, std::int64_t j) {
    return maxima[static_cast<std::size_t>(i)] < maxima[static_cast<std::size_t>(j)];
  });
  const std::int64_t multiple = p.option("multiple") == "64" ? 64 : 16;
  return {std::move(order), std::min(up(outliers_of(p, maxima), multiple), padded)};
}

/// Column j of the result is column order[j] of x, or zeros.
Matrix gathered(MatrixView x, std::span<const std::int64_t> order) {
  Matrix out(x.rows, static_cast<std::int64_t>(order.size()), x.dtype);
  const auto size = static_cast<std::int64_t>(size_of(x.dtype));
  std::byte* to = out.bytes.data();
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (const std::int64_t j : order) {
      if (j >= 0)
        std::memcpy(to, static_cast<const std::byte*>(x.data) + (i * x.cols + j) * size,
                    static_cast<std::size_t>(size));
      to += size;
    }
  return out;
}

QuantizeSpec spec_of(const OperandRecipe& o) {
  QuantizeSpec spec{.dialect = find_dialect(o.dialect), .block = o.block};
  spec.four_over_six = o.four_over_six;
  return spec;
}

/// The last columns of x less what their codes decode to, FP32.
Matrix residual_of(const Matrix& x, const BlockScaledTensor& q, std::int64_t count, const Kernels& kernels) {
  std::vector<std::int64_t> last(static_cast<std::size_t>(count));
  std::iota(last.begin(), last.end(), x.cols - count);
  const Matrix decoded = gathered(kernels.dequantize(q).view(), last);
  return kernels.add_output(converted(gathered(x.view(), last).view(), Dtype::fp32, kernels), -1,
                            decoded.view());
}

/// A block of 16 columns in each row.
struct BlockColumn {
  const BlockScaledTensor* of;
  std::int64_t block;
};

BlockScaledTensor joined(std::span<const BlockColumn> columns) {
  const BlockScaledTensor& first = *columns[0].of;
  BlockScaledTensor out{.spec = first.spec, .dtype = first.dtype, .rows = first.rows};
  out.cols = 16 * static_cast<std::int64_t>(columns.size());
  out.global = first.global;
  for (std::int64_t i = 0; i < out.rows; ++i)
    for (const auto& [of, block] : columns) {
      const auto code = of->codes.begin() + i * of->row_bytes() + block * 8;
      out.codes.insert(out.codes.end(), code, code + 8);
      out.scales.push_back(of->scales[static_cast<std::size_t>(i * of->blocks_per_row() + block)]);
    }
  return out;
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

std::vector<Term> lower(const Product& p, const Kernels& kernels) {
  const Channels channels = channels_of(p, kernels);
  const std::int64_t outliers = channels.outliers;
  if (outliers == 0) return plain.lower(p, kernels);
  Matrix x = gathered(p.a.x, channels.order), w = gathered(p.b.x, channels.order);
  const QuantizeSpec spec = spec_of(p.recipe.a);
  QuantizeSpec same_scale = spec;
  same_scale.amax = kernels.amax(x.view(), *spec.dialect);
  const BlockScaledTensor q = kernels.quantize(x.view(), spec, {}),
                          q_w = kernels.quantize(w.view(), spec_of(p.recipe.b), {});
  const Matrix residual = residual_of(x, q, outliers, kernels);
  const BlockScaledTensor q_residual = kernels.quantize(residual.view(), same_scale, {});
  const bool interleaved = p.option("layout") == "interleaved";
  return {
      {.a = {.quantized = augmented(q, q_residual, 0, outliers, interleaved), .transformed = std::move(x)},
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
  }
}

std::vector<Recipe> recipes() {
  Recipe r = plain_recipe("arcquant");
  r.fprop.scheme = scheme_recipe("arcquant", {});
  return {r};
}

}  // namespace

constinit const Scheme arcquant{
    .name = "arcquant",
    .options = options,
    .validate = validate,
    .lower = lower,
    .recipes = recipes,
};

}  // namespace nvfp4::scheme
