#include "gemm.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include <nvfp4/kernels.hpp>

#include "float_environment.hpp"

namespace nvfp4 {
namespace {

bool keeps_amax(const BlockScaledTensor& t) { return t.spec.dialect->global_is == GlobalIs::amax; }
bool is_per_row(const BlockScaledTensor& t) { return t.spec.tensor_scale == TensorScale::row; }

/// The factor by which one second-level scale multiplies on the way out. The divisors of amaxes stand in alpha.
float factor(const BlockScaledTensor& t, std::int64_t row) {
  const float global = t.global_at(row, 0);
  return t.spec.dialect->global_is == GlobalIs::divide ? 1 / global : global;
}

float divisor(const BlockScaledTensor& t) {
  return static_cast<float>(keeps_amax(t) ? global_divisor(t.spec) : 1);
}

/// A factor for each row of t, with the other operand's single one where it has no rows of its own.
std::vector<float> factors(const BlockScaledTensor& t, const BlockScaledTensor& other) {
  std::vector<float> each;
  for (std::int64_t i = 0; is_per_row(t) && i < t.rows; ++i)
    each.push_back(is_per_row(other) ? factor(t, i) : factor(t, i) * factor(other, 0));
  return each;
}

/// `count` of each row from `first` on.
template <class T>
std::vector<T> part(const std::vector<T>& all, std::int64_t rows, std::int64_t first, std::int64_t count) {
  const std::int64_t pitch = rows ? std::ssize(all) / rows : 0;
  std::vector<T> out(static_cast<std::size_t>(rows * count));
  for (std::int64_t i = 0; i < rows; ++i)
    std::copy_n(all.begin() + i * pitch + first, count, out.begin() + i * count);
  return out;
}

/// Columns [first, last) of every row, without second-level scales; `first` lies between two blocks.
BlockScaledTensor columns(const BlockScaledTensor& t, std::int64_t first, std::int64_t last) {
  BlockScaledTensor out{.spec = t.spec, .dtype = t.dtype, .rows = t.rows, .cols = last - first};
  const std::int64_t block = first / t.spec.block.cols;
  out.codes = part(t.codes, t.rows, first * info(t.spec.dialect->element).bits / 8, out.row_bytes());
  out.scales = part(t.scales, t.rows, block, out.blocks_per_row());
  return out;
}

/// The accumulator of each range of K from +0, added to the sum of those before.
Matrix accumulate(const BlockScaledTensor& a, const BlockScaledTensor& b, const Accumulation& acc,
                  std::vector<std::int64_t> cuts, const Kernels& kernels) {
  if (cuts.empty()) return kernels.multiply(a, b, acc, {});
  Matrix sum;
  std::int64_t first = 0;
  cuts.push_back(a.cols);
  for (const std::int64_t last : cuts) {
    Matrix partial = kernels.multiply(columns(a, first, last), columns(b, first, last), acc, {});
    sum = first ? kernels.add_output(std::move(sum), 1, partial.view()) : std::move(partial);
    first = last;
  }
  return sum;
}

/// The accumulator of each part of K, scaled, added to the sum of those before.
Matrix accumulate_parts(const BlockScaledTensor& a, const BlockScaledTensor& b, const Accumulation& acc,
                        const OutputScaling& s, const Kernels& kernels) {
  Matrix sum;
  std::int64_t first = 0;
  do {
    const std::int64_t last = std::min(first + s.part, a.cols), p = first / s.part, some = last > first;
    const OutputScaling scaling{s.alpha, false, part(s.rows, a.rows, p, some), part(s.cols, b.rows, p, some)};
    Matrix y = kernels.scale_output(
        kernels.multiply(columns(a, first, last), columns(b, first, last), acc, {}), scaling);
    sum = first ? kernels.add_output(std::move(sum), 1, y.view()) : std::move(y);
    first = last;
  } while (first < a.cols);
  return sum;
}

Matrix scaled(const BlockScaledTensor& a, const BlockScaledTensor& b, const Accumulation& acc,
              const GemmSpec& spec, const Kernels& kernels) {
  if (spec.scaling.part) return accumulate_parts(a, b, acc, spec.scaling, kernels);
  return kernels.scale_output(accumulate(a, b, acc, spec.cuts, kernels), spec.scaling);
}

std::string scales_of(const BlockScaledTensor& t) {
  return std::string(t.spec.dialect->name) + " with " +
         (t.spec.dialect->outer_cols ? std::to_string(t.spec.dialect->outer_cols) : "none");
}

}  // namespace

void cpu::validate(const GemmSpec& spec, const BlockScaledTensor& a, const BlockScaledTensor& b) {
  const auto fail = [](const std::string& what) { throw std::invalid_argument(what); };
  const OutputScaling& s = spec.scaling;
  const std::int64_t parts = s.part ? (a.cols + s.part - 1) / s.part : 0;
  if (s.part && (std::ssize(s.rows) != a.rows * parts || std::ssize(s.cols) != b.rows * parts))
    fail("expected a factor of each row and column for each of " + std::to_string(parts) + " parts of K");
  if (s.part && !spec.cuts.empty())
    fail("K is cut once: where its scales change, each " + std::to_string(s.part) + " columns");
  std::int64_t before = 0;
  for (const std::int64_t cut : spec.cuts) {
    if (cut <= before || cut >= a.cols || cut % a.spec.block.cols)
      fail("K is cut at ascending multiples of a block's columns, inside K: not at " + std::to_string(cut));
    before = cut;
  }
  if (!spec.bias.empty() && static_cast<std::int64_t>(spec.bias.size()) != b.rows)
    fail("expected a bias for each of " + std::to_string(b.rows) + " columns, found " +
         std::to_string(spec.bias.size()));
  if (spec.c.bytes.empty()) return;
  if (spec.c.dtype != Dtype::fp32 || spec.c.rows != a.rows || spec.c.cols != b.rows)
    fail("expected C " + std::to_string(a.rows) + " x " + std::to_string(b.rows) + " in fp32, found " +
         std::to_string(spec.c.rows) + " x " + std::to_string(spec.c.cols) + " in " +
         std::string(name(spec.c.dtype)));
}

OutputScaling output_scaling(const BlockScaledTensor& a, const BlockScaledTensor& b) {
  const cpu::FloatEnvironment fenced;
  const std::int64_t outer = a.spec.dialect->outer_cols;
  if (outer != b.spec.dialect->outer_cols)
    throw std::invalid_argument("expected two operands with scales of as many columns of a row: found " +
                                scales_of(a) + " and " + scales_of(b));
  if (outer) return {1, false, a.global, b.global, outer};
  const float inverse = 1 / (divisor(a) * divisor(b));  // the product of two such integers is exact
  if (is_per_row(a) || is_per_row(b)) return {inverse, false, factors(a, b), factors(b, a)};
  return {factor(a, 0) * factor(b, 0) * inverse};
}

OutputScaling output_scaling(const BlockScaledTensor& t) {
  if (t.spec.dialect->outer_cols)
    throw std::invalid_argument(std::string(t.spec.dialect->name) +
                                " has scales along K, which no single factor stands for");
  const cpu::FloatEnvironment fenced;
  return {factor(t, 0) * (1 / divisor(t))};
}

std::vector<std::int64_t> split_k(const BlockScaledTensor& a, const Accumulation& acc, std::int64_t parts) {
  if (parts < 1) throw std::invalid_argument("K is split into 1 part or more");
  const std::int64_t whole = std::lcm<std::int64_t>(acc.k, a.spec.block.cols);
  const std::int64_t count = (a.cols + whole - 1) / whole,
                     ranges = std::min(parts, std::max<std::int64_t>(count, 1));
  const std::int64_t each = (count + ranges - 1) / ranges * whole;
  std::vector<std::int64_t> cuts;
  for (std::int64_t cut = each; cut < a.cols; cut += each) cuts.push_back(cut);
  return cuts;
}

const Accumulation& default_accumulation(const Dialect& d) {
  return *find_accumulation(d.scale != Format::e8m0     ? "sm100_nvfp4"
                            : d.element == Format::e2m1 ? "sm100_mxfp4"
                                                        : "sm100_mxf8f6f4");
}

Matrix gemm(const BlockScaledTensor& a, const BlockScaledTensor& b, const Accumulation& acc,
            const GemmSpec& spec, const Kernels& kernels) {
  validate(acc, a, b);
  cpu::validate(spec, a, b);
  Matrix y = scaled(a, b, acc, spec, kernels);
  if (!spec.bias.empty()) y = kernels.add_output(std::move(y), 1, {spec.bias.data(), 1, b.rows});
  if (!spec.c.bytes.empty()) y = kernels.add_output(std::move(y), spec.beta, spec.c.view());
  return y;
}

}  // namespace nvfp4
