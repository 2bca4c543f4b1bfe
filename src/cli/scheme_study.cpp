#include "scheme_study.hpp"

#include <algorithm>
#include <cmath>

#include <nvfp4/kernels.hpp>

#include "density.hpp"

namespace nvfp4::cli {
namespace {

std::vector<double> widened(const Matrix& m, const Kernels& kernels) {
  const Matrix values = converted(m.view(), Dtype::fp32, kernels);
  return {values.f32(), values.f32() + m.rows * m.cols};
}

double norm(const std::vector<double>& values) {
  double squares = 0;
  for (const double v : values) squares += v * v;
  return std::sqrt(squares);
}

/// Whether the tensor has been counted: the same one again, or the numbers that a quantized one decodes to.
bool counted(const Operand& o, const std::vector<const Operand*>& before) {
  return std::ranges::any_of(before, [&](const Operand* p) {
    if (p->quantized && o.quantized)
      return p->quantized->codes == o.quantized->codes && p->quantized->scales == o.quantized->scales;
    if (p->quantized) return p->quantized->rows == o.dense.rows && p->quantized->cols == o.dense.cols;
    return !o.quantized && p->dense.bytes == o.dense.bytes;
  });
}

double bits(const Operand& o) {
  return o.quantized ? stored_bits(*o.quantized) : 8.0 * static_cast<double>(o.dense.bytes.size());
}

double bits_of_side(const Pass& pass, Operand Term::*side) {
  double sum = 0;
  std::vector<const Operand*> before;
  for (const Term& term : pass.terms) {
    const Operand& o = term.*side;
    if (!counted(o, before)) sum += bits(o);
    before.push_back(&o);
  }
  return sum;
}

double multiplications(const Pass& pass) {
  double sum = 0;
  for (const Term& t : pass.terms) {
    const std::int64_t depth = t.a.quantized ? t.a.quantized->cols : t.a.dense.cols;
    sum += static_cast<double>(t.out.rows * t.out.cols) * static_cast<double>(depth);
  }
  return sum;
}

}  // namespace

/// Of one product, gathered over the seeds.
class SchemeStudy::Errors {
 public:
  explicit Errors(const Exact& exact) : exact_(exact), mean_(exact.values.size()) {}

  void add(const Matrix& out, int draws) {
    for (std::size_t i = 0; i < mean_.size(); ++i) {
      const double error = out.f32()[i] - exact_.values[i];
      squares_ += error * error / draws;
      largest_ = std::max(largest_, std::fabs(error));
      mean_[i] += error / draws;
    }
  }

  ProductCost cost(const Pass& pass) const {
    const auto size = [](std::int64_t n, std::int64_t m) { return static_cast<double>(n * m); };
    return {.error = std::sqrt(squares_) / exact_.norm,
            .error_of_mean = norm(mean_) / exact_.norm,
            .largest_error = largest_ / exact_.largest,
            .bits_a = bits_of_side(pass, &Term::a) / size(exact_.rows, exact_.depth),
            .bits_b = bits_of_side(pass, &Term::b) / size(exact_.cols, exact_.depth),
            .multiplications =
                multiplications(pass) / (size(exact_.rows, exact_.cols) * static_cast<double>(exact_.depth))};
  }

 private:
  const Exact& exact_;
  std::vector<double> mean_;
  double squares_ = 0, largest_ = 0;
};

/// a * transpose(b), each element a sum over ascending k.
SchemeStudy::Exact SchemeStudy::exact(const Matrix& a, const Matrix& b, const Kernels& kernels) {
  Exact e{a.rows, b.rows, a.cols, {}, 0, 0};
  e.values.resize(static_cast<std::size_t>(e.rows * e.cols));
  const std::vector<double> left = widened(a, kernels), right = widened(transpose(b.view()), kernels);
  for (std::int64_t i = 0; i < e.rows; ++i)
    for (std::int64_t k = 0; k < e.depth; ++k) {
      const double factor = left[static_cast<std::size_t>(i * e.depth + k)];
      const double* row = right.data() + k * e.cols;
      double* sums = e.values.data() + i * e.cols;
      for (std::int64_t j = 0; j < e.cols; ++j) sums[j] += factor * row[j];
    }
  e.norm = norm(e.values);
  for (const double v : e.values) e.largest = std::max(e.largest, std::fabs(v));
  return e;
}

SchemeStudy::SchemeStudy(MatrixView x, MatrixView w, MatrixView dy, const Kernels& kernels)
    : kernels_(kernels),
      x_(converted(x, Dtype::bf16, kernels)),
      w_(converted(w, Dtype::bf16, kernels)),
      dy_(converted(dy, Dtype::bf16, kernels)) {
  const Matrix w_t = transpose(w_.view()), x_t = transpose(x_.view()), dy_t = transpose(dy_.view());
  exact_ = {exact(x_, w_, kernels), exact(dy_, w_t, kernels), exact(dy_t, x_t, kernels)};
}

LayerCost SchemeStudy::cost(const Recipe& recipe, std::uint64_t seed, int draws) const {
  std::vector<Errors> errors(exact_.begin(), exact_.end());
  LayerCost cost;
  for (int draw = 0; draw < draws; ++draw) {
    const LinearResult r =
        linear(recipe, x_.view(), w_.view(), dy_.view(), seed + static_cast<std::uint64_t>(draw), kernels_);
    const Pass* passes[] = {&r.fprop, &r.dgrad, &r.wgrad};
    for (std::size_t g = 0; g < errors.size(); ++g) {
      errors[g].add(converted(passes[g]->out.view(), Dtype::fp32, kernels_), draws);
      if (draw == draws - 1) cost[g] = errors[g].cost(*passes[g]);
    }
  }
  return cost;
}

}  // namespace nvfp4::cli
