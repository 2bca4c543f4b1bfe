#include <nvfp4/outliers.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include <nvfp4/kernels.hpp>

namespace nvfp4 {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

std::span<const float> elements(const Matrix& x) {
  return {x.f32(), static_cast<std::size_t>(x.rows * x.cols)};
}

/// x in FP32.
Matrix finite(MatrixView x) {
  Matrix values = converted(x, Dtype::fp32, cpu_kernels());
  const auto all = elements(values);
  const auto bad = std::ranges::find_if_not(all, [](float v) { return std::isfinite(v); });
  if (bad == all.end()) return values;
  const auto at = bad - all.begin();
  throw std::invalid_argument("element (" + std::to_string(at / x.cols) + ", " + std::to_string(at % x.cols) +
                              "): expected a finite number");
}

/// |x|, descending.
std::vector<float> magnitudes(MatrixView x) {
  const Matrix values = finite(x);
  std::vector<float> all(elements(values).begin(), elements(values).end());
  for (float& v : all) v = std::fabs(v);
  std::ranges::sort(all, std::greater{});
  return all;
}

double spike(std::span<const float> block) {
  double squares = 0, most = 0;
  for (const float v : block) {
    squares += double{v} * v;
    most = std::max(most, std::fabs(double{v}));
  }
  return most == 0 ? 0 : most / std::sqrt(squares / static_cast<double>(block.size()));
}

}  // namespace

double kurtosis(MatrixView x) {
  const Matrix values = finite(x);
  const auto n = static_cast<double>(x.rows * x.cols);
  double sum = 0, second = 0, fourth = 0;
  for (const float v : elements(values)) sum += v;
  for (const float v : elements(values)) {
    const double square = (v - sum / n) * (v - sum / n);
    second += square;
    fourth += square * square;
  }
  return second == 0 ? nan : n * fourth / (second * second);
}

std::vector<float> top_magnitudes(MatrixView x, std::int64_t k) {
  std::vector<float> all = magnitudes(x);
  all.resize(static_cast<std::size_t>(std::clamp<std::int64_t>(k, 0, std::ssize(all))));
  return all;
}

std::vector<double> block_spikes(MatrixView x) {
  const Matrix values = finite(x);
  std::vector<double> spikes;
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t j = 0; j < x.cols; j += 16)
      spikes.push_back(
          spike(elements(values).subspan(static_cast<std::size_t>(i * x.cols + j),
                                         static_cast<std::size_t>(std::min<std::int64_t>(16, x.cols - j)))));
  return spikes;
}

double flush_to_zero_rate(MatrixView x, const QuantizeSpec& spec) {
  const Kernels& kernels = cpu_kernels();
  const Matrix values = finite(x), decoded = kernels.dequantize(kernels.quantize(x, spec, {}));
  std::int64_t nonzero = 0, flushed = 0;
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) {
    nonzero += values.f32()[i] != 0;
    flushed += values.f32()[i] != 0 && decoded.f32()[i] == 0;
  }
  return nonzero ? static_cast<double>(flushed) / static_cast<double>(nonzero) : 0;
}

double max_over_p999(MatrixView x) {
  const std::vector<float> all = magnitudes(x);
  if (all.empty()) return nan;
  return double{all[0]} / all[all.size() / 1000];
}

std::vector<std::int64_t> top_channels(std::span<const double> scores, std::int64_t k) {
  std::vector<std::int64_t> channels(scores.size());
  std::iota(channels.begin(), channels.end(), std::int64_t{0});
  std::ranges::stable_sort(channels, std::greater{},
                           [&](std::int64_t j) { return scores[static_cast<std::size_t>(j)]; });
  channels.resize(static_cast<std::size_t>(std::clamp<std::int64_t>(k, 0, std::ssize(channels))));
  std::ranges::sort(channels);
  return channels;
}

std::vector<std::int64_t> persistent(std::span<const std::int64_t> before,
                                     std::span<const std::int64_t> after) {
  std::vector<std::int64_t> a(before.begin(), before.end()), b(after.begin(), after.end()), both;
  std::ranges::sort(a);
  std::ranges::sort(b);
  std::ranges::set_intersection(a, b, std::back_inserter(both));
  return both;
}

}  // namespace nvfp4
