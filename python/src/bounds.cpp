#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <cstring>

#include <nvfp4/bound.hpp>
#include <nvfp4/mma.hpp>

#include "arguments.hpp"

namespace nvfp4::python {
namespace {

/// Covers the roundings of a few operations, so that what is handed out is a bound still.
constexpr double outward = 1 + 0x1p-50;

const Accumulation& accumulation_of(const std::optional<std::string>& text, const Dialect& d) {
  return text ? accumulation_named(*text) : default_accumulation(d);
}

nb::dict record(const ErrorBound& bound, double probability, double unit) {
  nb::dict r;
  r["worst"] = bound.worst * unit;
  r["probable"] = bound.probable(probability) * unit;
  return r;
}

void require_probability(double p) {
  if (!(p >= 0 && p < 1)) throw std::invalid_argument("probability: expected 0 or more and below 1");
}

nb::dict a_priori(const QuantizeSpec& spec, float a_amax, float b_amax, std::int64_t k,
                  const std::optional<std::string>& accumulate, double probability) {
  require_probability(probability);
  constexpr std::int64_t most_k = std::int64_t{1} << 24;
  if (k < 1 || k > most_k)
    throw std::invalid_argument("k: expected 1 to " + std::to_string(most_k) + ", found " +
                                std::to_string(k));
  const Accumulation& acc = accumulation_of(accumulate, *spec.dialect);
  const auto [bound, of_a] = released(0, [&] {
    return std::pair(product_bound(spec, a_amax, spec, b_amax, k, acc), tensor_bound(spec, a_amax));
  });
  nb::dict r;
  r["k"] = k;
  r["dialect"] = spec.dialect->name;
  r["block"] = block_name(spec.block);
  r["rounding"] = spec.stochastic ? "sr" : "rne";
  r["accumulate"] = acc.name;
  r["a_amax"] = a_amax;
  r["b_amax"] = b_amax;
  r["element"] = of_a.relative;
  r["probability"] = probability;
  r["quantization"] = record(bound.quantization, probability, 1);
  r["accumulation"] = record(bound.accumulation, probability, 1);
  r["worst"] = (bound.quantization.worst + bound.accumulation.worst) * outward;
  return r;
}

/// Of every output of a product: the worst of quantization, the probable one, and the same of accumulation.
struct OutputBounds {
  std::vector<double> columns[4];
};

OutputBounds output_bounds(const BlockScaledTensor& a, const BlockScaledTensor& b, const Accumulation& acc,
                           double probability) {
  validate(acc, a, b);
  const std::vector<BoundRow> a_rows = bound_rows(a, acc), b_rows = bound_rows(b, acc);
  OutputBounds all;
  for (auto& column : all.columns) column.resize(static_cast<std::size_t>(a.rows * b.rows));
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t j = 0; j < b.rows; ++j) {
      const ProductBound bound =
          product_bound(a_rows[static_cast<std::size_t>(i)], b_rows[static_cast<std::size_t>(j)], acc);
      const double unit = tensor_scale(a, i, 0) * tensor_scale(b, j, 0) * outward;
      const auto at = static_cast<std::size_t>(i * b.rows + j);
      all.columns[0][at] = bound.quantization.worst * unit;
      all.columns[1][at] = bound.quantization.probable(probability) * unit;
      all.columns[2][at] = bound.accumulation.worst * unit;
      all.columns[3][at] = bound.accumulation.probable(probability) * unit;
    }
  return all;
}

nb::dict of_tensors(const BlockScaledTensor& a, const BlockScaledTensor& b,
                    const std::optional<std::string>& accumulate, double probability, int threads) {
  require_probability(probability);
  const Accumulation& acc = accumulation_of(accumulate, *a.spec.dialect);
  OutputBounds all = released(threads, [&] { return output_bounds(a, b, acc, probability); });
  nb::dict r;
  r["accumulate"] = acc.name;
  const auto rows = static_cast<std::size_t>(a.rows), cols = static_cast<std::size_t>(b.rows);
  const char* names[] = {"quantization_worst", "quantization_probable", "accumulation_worst",
                         "accumulation_probable"};
  for (int i = 0; i < 4; ++i) r[names[i]] = array_of<double>(std::move(all.columns[i]), {rows, cols});
  return r;
}

GemmSpec gemm_spec(const BlockScaledTensor& a, const BlockScaledTensor& b, std::optional<float> alpha,
                   bool use_globals, const std::optional<FloatInput>& bias) {
  GemmSpec spec;
  if (use_globals) spec.scaling = output_scaling(a, b);
  if (alpha) spec.scaling.alpha = *alpha;
  if (bias) spec.bias.assign(bias->data(), bias->data() + bias->size());
  return spec;
}

nb::tuple measured(const BlockScaledTensor& a, const BlockScaledTensor& b, const MatrixInput& d,
                   std::string_view d_dtype, const std::optional<std::string>& accumulate,
                   std::optional<float> alpha, bool use_globals, const std::optional<FloatInput>& bias,
                   int threads) {
  const MatrixView view = view_of(d, d_dtype);
  const Accumulation& acc = accumulation_of(accumulate, *a.spec.dialect);
  Matrix copy(view.rows, view.cols, view.dtype);
  std::vector<double> errors, bounds;
  released(threads, [&] {
    std::memcpy(copy.bytes.data(), view.data, copy.bytes.size());
    for (const OutputError& e : output_errors(a, b, acc, gemm_spec(a, b, alpha, use_globals, bias), copy))
      errors.push_back(e.measured), bounds.push_back(e.bound);
    return 0;
  });
  const auto rows = static_cast<std::size_t>(a.rows), cols = static_cast<std::size_t>(b.rows);
  return nb::make_tuple(array_of<double>(std::move(errors), {rows, cols}),
                        array_of<double>(std::move(bounds), {rows, cols}));
}

/// element * scales of every element in binary64, and how far the scales let x be from that: the tensor scale and the
/// product with it are rounded, by half an ulp each. docs/bounds.md 1.
struct ElementValues {
  std::vector<double> values, bounds;
};

ElementValues element_values(const BlockScaledTensor& t) {
  const std::vector<BoundRow> rows = bound_rows(t, *find_accumulation("exact"));
  ElementValues all;
  for (std::int64_t i = 0; i < t.rows; ++i) {
    const BoundRow& row = rows[static_cast<std::size_t>(i)];
    const double unit = tensor_scale(t, i, 0);
    for (std::size_t j = 0; j < row.values.size(); ++j) {
      const double value = row.values[j] * unit;
      all.values.push_back(value);
      all.bounds.push_back((row.errors[j] * unit + std::abs(value) * 0x1p-52) * outward);
    }
  }
  return all;
}

nb::tuple values_and_bounds(const BlockScaledTensor& t, int threads) {
  ElementValues all = released(threads, [&] { return element_values(t); });
  const auto rows = static_cast<std::size_t>(t.rows), cols = static_cast<std::size_t>(t.cols);
  return nb::make_tuple(array_of<double>(std::move(all.values), {rows, cols}),
                        array_of<double>(std::move(all.bounds), {rows, cols}));
}

}  // namespace

void bind_bounds(nb::module_& m) {
  m.def("a_priori_bound", &a_priori, nb::arg("spec"), nb::arg("a_amax"), nb::arg("b_amax"), nb::arg("k"),
        nb::arg("accumulate").none(), nb::arg("probability"));
  m.def("product_bounds", &of_tensors, nb::arg("a"), nb::arg("b"), nb::arg("accumulate").none(),
        nb::arg("probability"), nb::arg("num_threads"));
  m.def("output_errors", &measured, nb::arg("a"), nb::arg("b"), nb::arg("d"), nb::arg("d_dtype"),
        nb::kw_only(), nb::arg("accumulate").none(), nb::arg("alpha").none(), nb::arg("use_globals"),
        nb::arg("bias").none(), nb::arg("num_threads"));
  m.def("element_values", &values_and_bounds, nb::arg("tensor"), nb::arg("num_threads"));
}

}  // namespace nvfp4::python
