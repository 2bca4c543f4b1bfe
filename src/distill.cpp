#include <nvfp4/distill.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include <nvfp4/kernels.hpp>

#include "float_environment.hpp"

namespace nvfp4 {
namespace {

constexpr double infinite = std::numeric_limits<double>::infinity();

/// What the largest element there is decodes to, in each place.
Matrix largest_values(BlockScaledTensor t, const Kernels& kernels) {
  const FormatInfo& element = info(t.spec.dialect->element);
  const auto largest = static_cast<float>(element.max);
  std::uint32_t code = 0;
  kernels.encode({&largest, 1}, {.format = element.format}, {&code, 1});
  std::ranges::fill(t.codes, static_cast<std::uint8_t>(element.bits == 4 ? code << 4 | code : code));
  return kernels.dequantize(t);
}

/// One row's logits over temperature, less their logsumexp, of the counted columns.
std::vector<double> log_softmax(const float* logits, const std::vector<std::int64_t>& columns,
                                double temperature) {
  std::vector<double> z;
  for (const std::int64_t j : columns) z.push_back(logits[j] / temperature);
  const double largest = std::ranges::max(z);
  if (largest == -infinite) return z;
  double sum = 0;
  for (double& v : z) sum += std::exp(v -= largest);
  const double log_sum = std::log(sum);
  for (double& v : z) v -= log_sum;
  return z;
}

double divergence(const std::vector<double>& log_p, const std::vector<double>& log_q) {
  double sum = 0;
  for (std::size_t j = 0; j < log_p.size(); ++j) {
    if (log_p[j] == -infinite) continue;
    if (log_q[j] == -infinite) return infinite;
    sum += std::exp(log_p[j]) * (log_p[j] - log_q[j]);
  }
  return sum;
}

/// The k largest, of equal ones the first; ascending.
std::vector<std::int64_t> top(const float* logits, std::int64_t size, std::int64_t k) {
  std::vector<std::int64_t> columns(static_cast<std::size_t>(size));
  std::iota(columns.begin(), columns.end(), std::int64_t{0});
  if (k == size) return columns;
  const auto precedes = [&](std::int64_t i, std::int64_t j) {
    return logits[i] != logits[j] ? logits[i] > logits[j] : i < j;
  };
  std::ranges::nth_element(columns, columns.begin() + k, precedes);
  columns.resize(static_cast<std::size_t>(k));
  std::ranges::sort(columns);
  return columns;
}

void require_logits(const Matrix& m, const std::string& whose) {
  for (std::int64_t i = 0; i < m.rows * m.cols; ++i)
    if (const float v = m.f32()[i]; !(v < INFINITY))
      throw std::invalid_argument(whose + "'s logits, row " + std::to_string(i / m.cols) + ", column " +
                                  std::to_string(i % m.cols) + ": expected a finite value or -Inf, found " +
                                  std::to_string(v));
}

void require(MatrixView t, MatrixView s, const KlOptions& o) {
  const auto shape = [](MatrixView m) { return std::to_string(m.rows) + " x " + std::to_string(m.cols); };
  if (t.rows != s.rows || t.cols != s.cols || t.rows < 1 || t.cols < 1)
    throw std::invalid_argument("expected logits of one shape, teacher and student, found " + shape(t) +
                                " and " + shape(s));
  if (!(o.temperature >= 0x1p-126 && o.temperature <= 0x1p126))
    throw std::invalid_argument("temperature: expected a positive number, from 2^-126 to 2^126, found " +
                                std::to_string(o.temperature));
  if (o.top_k < 0 || o.top_k > t.cols)
    throw std::invalid_argument("top_k: expected 0 to " + std::to_string(t.cols) + ", found " +
                                std::to_string(o.top_k));
}

double row_divergence(const Matrix& t, const Matrix& s, std::int64_t row, const KlOptions& o) {
  const float *p = t.f32() + row * t.cols, *q = s.f32() + row * t.cols;
  const std::vector<std::int64_t> columns = top(p, t.cols, o.top_k ? o.top_k : t.cols);
  const std::vector<double> log_p = log_softmax(p, columns, o.temperature);
  if (std::ranges::max(log_p) == -infinite)
    throw std::invalid_argument("teacher's logits, row " + std::to_string(row) +
                                ": expected a finite value, found nothing but -Inf");
  return divergence(log_p, log_softmax(q, columns, o.temperature));
}

}  // namespace

Matrix fake_quantize(MatrixView x, const QuantizeSpec& spec, const Kernels& kernels) {
  const BlockScaledTensor quantized = kernels.quantize(x, spec, {});
  return converted(kernels.dequantize(quantized).view(), x.dtype, kernels);
}

Matrix gradient_mask(MatrixView x, const QuantizeSpec& spec, StraightThrough through,
                     const Kernels& kernels) {
  Matrix mask(x.rows, x.cols);
  const std::int64_t count = x.rows * x.cols;
  std::fill_n(mask.f32(), count, 1.f);
  if (through == StraightThrough::identity) return mask;
  const Matrix values = converted(x, Dtype::fp32, kernels),
               largest = largest_values(kernels.quantize(x, spec, {}), kernels);
  for (std::int64_t i = 0; i < count; ++i)
    mask.f32()[i] = std::fabs(values.f32()[i]) <= largest.f32()[i] ? 1.f : 0.f;
  return mask;
}

Divergence kl_divergence(MatrixView teacher, MatrixView student, const KlOptions& options) {
  const cpu::FloatEnvironment fenced;
  require(teacher, student, options);
  const Matrix t = converted(teacher, Dtype::fp32, cpu_kernels()),
               s = converted(student, Dtype::fp32, cpu_kernels());
  require_logits(t, "teacher");
  require_logits(s, "student");
  Divergence d;
  for (std::int64_t row = 0; row < t.rows; ++row) d.rows.push_back(row_divergence(t, s, row, options));
  d.mean = std::accumulate(d.rows.begin(), d.rows.end(), 0.) / static_cast<double>(t.rows);
  return d;
}

}  // namespace nvfp4
