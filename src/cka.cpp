#include <cmath>
#include <stdexcept>
#include <string>

#include <nvfp4/distill.hpp>
#include <nvfp4/kernels.hpp>

#include "float_environment.hpp"

namespace nvfp4 {
namespace {

/// Hidden states less each feature's mean, times a power of two; features x tokens, so that the chain over features runs in
/// as many lanes as there are tokens.
struct Centered {
  std::int64_t tokens, features;
  std::vector<double> values;

  const double* feature(std::int64_t j) const { return values.data() + j * tokens; }
};

void require_finite(MatrixView x, const float* values) {
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i)
    if (!std::isfinite(values[i]))
      throw std::invalid_argument("row " + std::to_string(i / x.cols) + ", column " +
                                  std::to_string(i % x.cols) + ": expected a finite value, found " +
                                  std::to_string(values[i]));
}

void center(double* feature, std::int64_t tokens) {
  double sum = 0;
  for (std::int64_t i = 0; i < tokens; ++i) sum += feature[i];
  const double mean = sum / static_cast<double>(tokens);
  for (std::int64_t i = 0; i < tokens; ++i) feature[i] -= mean;
}

/// By a power of two that brings the largest magnitude into [1/2, 1): squares of squares neither overflow nor vanish.
void scale(std::vector<double>& values) {
  double largest = 0;
  for (const double v : values) largest = std::max(largest, std::fabs(v));
  if (largest == 0)
    throw std::invalid_argument("expected tokens that differ: the same hidden state for all has no CKA");
  int exponent = 0;
  std::frexp(largest, &exponent);
  for (double& v : values) v = std::ldexp(v, -exponent);
}

Centered centered(MatrixView x) {
  const Matrix values = converted(x, Dtype::fp32, cpu_kernels());
  require_finite(x, values.f32());
  Centered c{x.rows, x.cols, {}};
  c.values.reserve(static_cast<std::size_t>(x.rows * x.cols));
  for (std::int64_t j = 0; j < x.cols; ++j)
    for (std::int64_t i = 0; i < x.rows; ++i) c.values.push_back(values.f32()[i * x.cols + j]);
  for (std::int64_t j = 0; j < x.cols; ++j) center(c.values.data() + j * x.rows, x.rows);
  scale(c.values);
  return c;
}

std::vector<double> gram_row(const Centered& c, std::int64_t i) {
  std::vector<double> row(static_cast<std::size_t>(c.tokens));
  for (std::int64_t j = 0; j < c.features; ++j) {
    const double* x = c.feature(j);
    for (std::int64_t l = 0; l < c.tokens; ++l) row[static_cast<std::size_t>(l)] += x[i] * x[l];
  }
  return row;
}

/// <Ka, Kb>, <Ka, Ka> and <Kb, Kb>.
struct Products {
  double ab = 0, aa = 0, bb = 0;
  void add(const Products& p) { ab += p.ab, aa += p.aa, bb += p.bb; }
};

Products products_of_row(const Centered& a, const Centered& b, std::int64_t i) {
  const std::vector<double> k = gram_row(a, i), m = gram_row(b, i);
  Products sum;
  for (std::size_t l = 0; l < k.size(); ++l) sum.add({k[l] * m[l], k[l] * k[l], m[l] * m[l]});
  return sum;
}

Centered named(const char* which, MatrixView x) try {
  return centered(x);
} catch (const std::invalid_argument& e) {
  throw std::invalid_argument(std::string(which) + ": " + e.what());
}

}  // namespace

double cka(MatrixView a, MatrixView b) {
  const cpu::FloatEnvironment fenced;
  if (a.rows != b.rows || a.rows < 2)
    throw std::invalid_argument("expected hidden states of the same tokens, 2 or more, found " +
                                std::to_string(a.rows) + " and " + std::to_string(b.rows));
  const Centered x = named("a", a), y = named("b", b);
  std::vector<Products> rows(static_cast<std::size_t>(a.rows));
#pragma omp parallel num_threads(threads())
  {
    const cpu::FloatEnvironment fenced_too;
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < x.tokens; ++i) rows[static_cast<std::size_t>(i)] = products_of_row(x, y, i);
  }
  Products sum;
  for (const Products& row : rows) sum.add(row);
  return sum.ab / std::sqrt(sum.aa * sum.bb);  // ab = aa = bb makes exactly 1, in binary
}

double cka_loss(std::span<const MatrixView> student, std::span<const MatrixView> teacher) {
  if (student.empty() || student.size() != teacher.size())
    throw std::invalid_argument("expected as many layers of both, 1 or more, found " +
                                std::to_string(student.size()) + " and " + std::to_string(teacher.size()));
  double loss = 0;
  for (std::size_t layer = 0; layer < student.size(); ++layer) try {
      loss += 1 - cka(student[layer], teacher[layer]);
    } catch (const std::invalid_argument& e) {
      throw std::invalid_argument("layer " + std::to_string(layer) + ": " + e.what());
    }
  return loss;
}

}  // namespace nvfp4
