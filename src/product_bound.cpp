#include <nvfp4/bound.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>

#include <nvfp4/kernels.hpp>

#include "code_rows.hpp"
#include "float_environment.hpp"
#include "gemm.hpp"
#include "upward.hpp"

/// docs/bounds.md 4: products of whole tensors.
namespace nvfp4 {
namespace {

using cpu::fp32, cpu::Grid, cpu::infinite, cpu::lost, cpu::power_below, cpu::up;

/// The value of each code of 8 bits or fewer.
std::vector<float> values_of(Format format) {
  std::vector<std::uint32_t> codes(std::size_t{1} << info(format).bits);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint32_t>(i);
  std::vector<float> values(codes.size());
  cpu_kernels().decode(codes, format, values);
  return values;
}

/// 2^e, e the exponent field of x in its format; subnormals and zero have the smallest.
double alignment_of(double x, Format format) {
  if (format == Format::e8m0) return x;
  return std::max(power_below(std::abs(x)), std::ldexp(1, 1 - info(format).bias));
}

/// Exact numbers of FP32 arithmetic, and how far the computed ones may be from them.
struct Carried {
  Interval exact;
  double error;
};

double magnitude(const Carried& x) {
  return up(std::max(std::abs(x.exact.low), std::abs(x.exact.high)) + x.error);
}

/// One rounding to nearest of what x was computed from.
Carried rounded(Carried x, const Grid& grid = fp32) {
  x.error = up(x.error + lost(grid.ulp(magnitude(x)), 0, true));
  return x;
}

double below(double x) { return std::nextafter(x, -infinite); }
double above(double x) { return std::nextafter(x, infinite); }

/// The interval of a * b, b one number; exact where binary64 has it.
Interval times(const Interval& a, double b) {
  const auto [low, high] = std::minmax({a.low * b, a.high * b});
  const bool exact = std::fma(a.low, b, -(a.low * b)) == 0 && std::fma(a.high, b, -(a.high * b)) == 0;
  return exact ? Interval{low, high} : Interval{below(low), above(high)};
}

Interval plus(const Interval& a, const Interval& b) {
  const Interval low = exact_sum(std::array{a.low, b.low}), high = exact_sum(std::array{a.high, b.high});
  return {low.low, high.high};
}

Carried multiplied(const Carried& x, float factor) {
  if (factor == 1) return x;
  return rounded({times(x.exact, factor), up(x.error * std::abs(static_cast<double>(factor)))});
}

Carried added(const Carried& x, const Carried& y) {
  return rounded({plus(x.exact, y.exact), up(x.error + y.error)});
}

/// The products of a range of k; they live in `scratch`.
struct Range {
  std::span<const double> p;
  Products all;
};
Range multiplied(const BoundRow& a, const BoundRow& b, std::size_t first, std::size_t last,
                 std::vector<double>& scratch) {
  const std::size_t n = last - first;
  scratch.resize(2 * n);
  const std::span<double> p(scratch.data(), n), alignments(scratch.data() + n, n);
  for (std::size_t k = 0; k < n; ++k) {
    p[k] = a.values[first + k] * b.values[first + k];
    alignments[k] = a.alignments[first + k] * b.alignments[first + k];
  }
  return {p, products(p, alignments)};
}

/// As gemm(): the accumulators of the ranges of K, then the scales, bias and beta * C.
Carried output(const BoundRow& a, const BoundRow& b, std::int64_t i, std::int64_t j, const Accumulation& acc,
               const GemmSpec& spec, std::vector<double>& scratch) {
  const auto row = static_cast<std::size_t>(i), col = static_cast<std::size_t>(j);
  Carried y{};
  std::size_t first = 0;
  for (std::size_t range = 0; range <= spec.cuts.size(); ++range) {
    const std::size_t last =
        range < spec.cuts.size() ? static_cast<std::size_t>(spec.cuts[range]) : a.values.size();
    const Range r = multiplied(a, b, first, last, scratch);
    const Carried part{exact_sum(r.p), accumulation_bound(acc, r.all).worst};
    y = range ? added(y, part) : part;
    first = last;
  }
  const OutputScaling& s = spec.scaling;
  y = multiplied(y, s.alpha);
  if (!s.rows.empty()) y = multiplied(y, s.rows[row]);
  if (!s.cols.empty()) y = multiplied(y, s.cols[col]);
  const auto number = [](double x) { return Carried{{x, x}, 0}; };
  if (!spec.bias.empty()) y = added(y, number(spec.bias[col]));
  if (!spec.c.bytes.empty()) y = added(y, multiplied(number(spec.c.f32()[i * spec.c.cols + j]), spec.beta));
  return y;
}

/// The magnitude of d - exact, not above the truth.
double distance(double d, const Interval& exact) {
  if (!std::isfinite(d)) return infinite;
  return exact.contains(d) ? 0 : below(std::max(exact.low - d, d - exact.high));
}

Grid grid(Dtype dtype) {
  if (dtype == Dtype::bf16) return {7, -126, 0x1.fep127};
  return dtype == Dtype::fp16 ? Grid{10, -14, 65504} : fp32;
}

void require_finite(double x, const char* what) {
  if (!std::isfinite(x))
    throw std::invalid_argument(std::string("bounds are of finite operands: found a ") + what +
                                " that is not");
}

/// Else sums of parts of K are rounded, which no bound here knows.
void require_one_scale_a_row(const Dialect& d) {
  if (d.outer_cols)
    throw std::invalid_argument(
        "bounds are of products with a scale for the tensor or each row: " + std::string(d.name) +
        " has one for each " + std::to_string(d.outer_cols) + " columns");
}

/// What quantization may have changed under each scale byte, over the tensor scale of this row.
std::vector<double> errors_of_scales(const BlockScaledTensor& t, std::int64_t row,
                                     std::span<const float> scales) {
  const double unit = tensor_scale(t, row, 0);
  require_finite(unit, "tensor scale");
  if (unit > 0 && unit < cpu::least_unit) return std::vector<double>(scales.size(), infinite);
  std::vector<double> errors(scales.size());
  for (std::size_t byte = 0; byte < scales.size() && unit > 0; ++byte) {
    const double amax = up(largest_amax(t.spec, static_cast<std::uint8_t>(byte), t.dtype) * unit);
    errors[byte] = up(element_bound(t.spec, amax, scales[byte] * unit, t.dtype).worst / unit);
  }
  return errors;
}

}  // namespace

double tensor_scale(const BlockScaledTensor& t, std::int64_t row, std::int64_t col) {
  const cpu::FloatEnvironment fenced;
  const double global = t.global_at(row, col);
  switch (t.spec.dialect->global_is) {
    case GlobalIs::amax: return global / global_divisor(t.spec);
    case GlobalIs::divide: return 1 / global;
    case GlobalIs::multiply: return global;
    case GlobalIs::none: break;
  }
  return 1;
}

std::vector<BoundRow> bound_rows(const BlockScaledTensor& t, const Accumulation& acc) {
  const cpu::FloatEnvironment fenced;
  const Dialect& d = *t.spec.dialect;
  require_one_scale_a_row(d);
  const std::vector<float> elements = values_of(d.element), scales = values_of(d.scale);
  const cpu::CodeRows codes = cpu::code_rows(t);
  cpu::CodeRow code(codes, t.cols);
  const auto cols = static_cast<std::size_t>(t.cols);
  const std::vector<double> zeros(cols);
  std::vector<BoundRow> rows(static_cast<std::size_t>(t.rows), {zeros, zeros, zeros});
  for (std::int64_t i = 0; i < t.rows; ++i) {
    BoundRow& row = rows[static_cast<std::size_t>(i)];
    const std::vector<double> errors = errors_of_scales(t, i, scales);
    code.read(codes, i);
    for (std::size_t k = 0; k < cols; ++k) {
      const std::uint8_t byte = code.scale_at(static_cast<std::int64_t>(k));
      const double element = elements[code.codes[k]], scale = scales[byte];
      require_finite(element * scale, "value");
      row.values[k] = element * scale;
      row.alignments[k] = alignment_of(scale, d.scale);
      if (acc.align == Align::product) row.alignments[k] *= alignment_of(element, d.element);
      row.errors[k] = errors[byte];
    }
  }
  return rows;
}

ErrorBound quantization_bound(std::span<const double> a, std::span<const double> a_errors,
                              std::span<const double> b, std::span<const double> b_errors) {
  const cpu::FloatEnvironment fenced;
  ErrorBound sum;
  for (std::size_t k = 0; k < a.size(); ++k) {
    const double ea = a_errors[k], eb = b_errors[k];
    const double each = up(up(up(std::abs(a[k]) + ea) * eb) + up(ea * std::abs(b[k])));
    sum.worst = up(sum.worst + each);
    sum.square = up(sum.square + up(each * each));
  }
  return sum;
}

ProductBound product_bound(const BoundRow& a, const BoundRow& b, const Accumulation& acc) {
  const cpu::FloatEnvironment fenced;
  std::vector<double> scratch;
  return {quantization_bound(a.values, a.errors, b.values, b.errors),
          accumulation_bound(acc, multiplied(a, b, 0, a.values.size(), scratch).all)};
}

ProductBound product_bound(const QuantizeSpec& a, float a_amax, const QuantizeSpec& b, float b_amax,
                           std::int64_t k, const Accumulation& acc) {
  const cpu::FloatEnvironment fenced;
  const Dialect& d = *a.dialect;
  for (const QuantizeSpec* spec : {&a, &b}) require_one_scale_a_row(*spec->dialect);
  validate(acc, d.element, b.dialect->element, d.scale, a.block.cols);
  const TensorBound ta = tensor_bound(a, a_amax), tb = tensor_bound(b, b_amax);
  const double n = static_cast<double>(k), ea = ta.element.worst, eb = tb.element.worst;
  const double each = up(up(up(a_amax * eb) + up(ea * b_amax)) + up(ea * eb));
  const double bias = up(up(up(a_amax * tb.element.bias) + up(ta.element.bias * b_amax)) +
                         up(ta.element.bias * tb.element.bias));
  ProductBound bound{.quantization = {up(n * each), up(n * bias), up(n * up(each * each))}};
  const auto power = [&](const TensorBound& t) {
    return power_below(t.scale) * (acc.align == Align::group ? 1 : power_below(info(d.element).max));
  };
  Products p{.count = k, .magnitude = up(n * up(ta.value * tb.value)), .alignment = power(ta) * power(tb)};
  const double least = std::ldexp(1, 1 - info(d.element).bias - info(d.element).mantissa_bits);
  if (d.scale == Format::ue4m3) p.quantum = least * least * 0x1p-18;
  const double unit = up(ta.unit * tb.unit);
  bound.accumulation = accumulation_bound(acc, p);
  bound.accumulation.worst = up(bound.accumulation.worst * unit);
  bound.accumulation.bias = up(bound.accumulation.bias * unit);
  bound.accumulation.square = up(bound.accumulation.square * up(unit * unit));
  return bound;
}

std::vector<OutputError> output_errors(const BlockScaledTensor& a, const BlockScaledTensor& b,
                                       const Accumulation& acc, const GemmSpec& spec, const Matrix& d) {
  validate(acc, a, b);
  cpu::validate(spec, a, b);
  if (d.rows != a.rows || d.cols != b.rows)
    throw std::invalid_argument("expected D " + std::to_string(a.rows) + " x " + std::to_string(b.rows) +
                                ", found " + std::to_string(d.rows) + " x " + std::to_string(d.cols));
  const std::vector<BoundRow> a_rows = bound_rows(a, acc), b_rows = bound_rows(b, acc);
  const Matrix values = converted(d.view(), Dtype::fp32, cpu_kernels());
  std::vector<OutputError> errors(static_cast<std::size_t>(d.rows * d.cols));
#pragma omp parallel num_threads(threads())
  {
    const cpu::FloatEnvironment fenced;
    std::vector<double> scratch;
#pragma omp for schedule(dynamic)
    for (std::int64_t i = 0; i < d.rows; ++i)
      for (std::int64_t j = 0; j < d.cols; ++j) {
        Carried y = output(a_rows[static_cast<std::size_t>(i)], b_rows[static_cast<std::size_t>(j)], i, j,
                           acc, spec, scratch);
        if (d.dtype != Dtype::fp32) y = rounded(y, grid(d.dtype));
        errors[static_cast<std::size_t>(i * d.cols + j)] = {distance(values.f32()[i * d.cols + j], y.exact),
                                                            y.error};
      }
  }
  return errors;
}

}  // namespace nvfp4
