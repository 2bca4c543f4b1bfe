#include <cmath>
#include <limits>
#include <memory>

#include <CLI/App.hpp>
#include <nvfp4/bound.hpp>
#include <nvfp4/io.hpp>
#include <nvfp4/mma.hpp>

#include "model_table.hpp"
#include "number.hpp"
#include "profile.hpp"

namespace nvfp4::cli {
namespace {

/// Longer chains take seconds, and nobody has them.
constexpr std::int64_t most_k = std::int64_t{1} << 24;

/// Covers the roundings of a few operations, so that what is printed is a bound still.
constexpr double outward = 1 + 0x1p-50;

struct Options {
  std::string a, b, accumulate, a_amax = "1", b_amax = "1";
  std::int64_t k = 0;
  double probability = 0.99;
  ProfileOptions profile;
};

const Accumulation& accumulation_of(const Options& o, const Dialect& d) {
  return o.accumulate.empty() ? default_accumulation(d) : model_named(o.accumulate, "--accumulate");
}

Json to_json(const ErrorBound& bound, double probability) {
  return {{"worst", bound.worst}, {"probable", bound.probable(probability)}};
}

std::string line(const std::string& name, const Json& bound, double probability) {
  char chance[32];
  std::snprintf(chance, sizeof chance, "%g", probability);
  return name + std::string(14 - name.size(), ' ') + bound_text(bound.at("worst")) + ", with probability " +
         chance + ' ' + bound_text(bound.at("probable")) + '\n';
}

double both(const Json& a, const Json& b) {
  return (a.at("worst").get<double>() + b.at("worst").get<double>()) * outward;
}

void add(Outcome& outcome, const Options& o, const Json& quantization, const Json& accumulation) {
  outcome.json.update({{"probability", o.probability},
                       {"quantization", quantization},
                       {"accumulation", accumulation},
                       {"worst", both(quantization, accumulation)}});
  outcome.text += line("quantization", quantization, o.probability) +
                  line("accumulation", accumulation, o.probability) + "together      " +
                  bound_text(outcome.json.at("worst")) + '\n';
}

float amax_of(const std::string& text, const std::string& option) {
  const float amax = parse_float(text, option);
  if (!(amax >= 0) || std::isinf(amax))
    throw UsageError(option + " " + text + ": expected a finite number, 0 or more");
  return amax;
}

/// Before there are tensors.
Outcome a_priori(const Options& o) {
  const QuantizeSpec spec = profile(o.profile).spec;
  const Dialect& d = *spec.dialect;
  const Accumulation& acc = accumulation_of(o, d);
  const float a = amax_of(o.a_amax, "--a-amax"), b = amax_of(o.b_amax, "--b-amax");
  ProductBound bound;
  try {
    bound = product_bound(spec, a, spec, b, o.k, acc);
  } catch (const std::invalid_argument& e) {
    throw UsageError(std::string("--accumulate: ") + e.what());
  }
  const TensorBound of_a = tensor_bound(spec, a);
  Outcome outcome;
  outcome.json = {{"k", o.k},
                  {"dialect", d.name},
                  {"block", block_name(spec.block)},
                  {"rounding", spec.stochastic ? "sr" : "rne"},
                  {"accumulate", acc.name},
                  {"a_amax", a},
                  {"b_amax", b},
                  {"element", of_a.relative}};
  outcome.text = std::string(d.name) + ' ' + block_name(spec.block) + ", K " + std::to_string(o.k) + ", by " +
                 std::string(acc.name) + ", |a| <= " + shortest(a) + ", |b| <= " + shortest(b) +
                 "\nelement       " + bound_text(of_a.relative) + " of its block's amax\n";
  add(outcome, o, to_json(bound.quantization, o.probability), to_json(bound.accumulation, o.probability));
  return outcome;
}

BlockScaledTensor read(const std::string& path) {
  return io::read_quantized(*io::open_arrays(io::read_bytes(path), path == "-" ? "stdin" : path)).rows;
}

/// The largest of every output's.
struct Largest {
  double worst = 0, probable = 0;
  void add(const ErrorBound& bound, double probability, double unit) {
    worst = std::max(worst, bound.worst * unit * outward);
    probable = std::max(probable, bound.probable(probability) * unit * outward);
  }
  Json json() const { return {{"worst", worst}, {"probable", probable}}; }
};

/// From the scales and codes of two tensors.
Outcome of_tensors(const Options& o) try {
  const BlockScaledTensor a = read(o.a), b = read(o.b);
  const Accumulation& acc = accumulation_of(o, *a.spec.dialect);
  validate(acc, a, b);
  const std::vector<BoundRow> a_rows = bound_rows(a, acc), b_rows = bound_rows(b, acc);
  Largest quantization, accumulation;
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t j = 0; j < b.rows; ++j) {
      const ProductBound bound =
          product_bound(a_rows[static_cast<std::size_t>(i)], b_rows[static_cast<std::size_t>(j)], acc);
      const double unit = tensor_scale(a, i, 0) * tensor_scale(b, j, 0);
      quantization.add(bound.quantization, o.probability, unit);
      accumulation.add(bound.accumulation, o.probability, unit);
    }
  Outcome outcome;
  outcome.json = {{"a", o.a},       {"b", o.b},    {"rows", a.rows},
                  {"cols", b.rows}, {"k", a.cols}, {"accumulate", acc.name}};
  outcome.text = std::to_string(a.rows) + " x " + std::to_string(b.rows) + ", K " + std::to_string(a.cols) +
                 ", by " + std::string(acc.name) + ", the largest of all outputs\n";
  add(outcome, o, quantization.json(), accumulation.json());
  return outcome;
} catch (const std::invalid_argument& e) {
  throw UsageError(o.a + ", " + o.b + ": " + e.what());
}

Outcome run(const Options& o) {
  if (o.k && !o.a.empty()) throw UsageError("bound: expected --k N or two tensors, not both");
  if (!o.k && o.b.empty())
    throw UsageError("bound: expected --k N, or two quantized tensors A and B (see --help)");
  return o.k ? a_priori(o) : of_tensors(o);
}

}  // namespace

Run declare_bound(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("A", o->a, "a quantized tensor (M x K): the bound of its product from its codes and scales");
  app.add_option("B", o->b, "another (N x K)");
  app.add_option("--k", o->k, "length of the sums: the bound before there are tensors, from these options")
      ->check(CLI::Range(std::int64_t{1}, most_k))
      ->type_name("N");
  app.add_option("--dialect", o->profile.dialect, "order of operations; see nvfp4 dialects")
      ->capture_default_str();
  app.add_option("--block", o->profile.block, "1x16|16x16|1x32, else the dialect's own");
  app.add_option("--rounding", o->profile.rounding, "rne|sr, of elements")->capture_default_str();
  app.add_option("--a-amax", o->a_amax, "largest |a|; results are in the units of a * b")
      ->capture_default_str();
  app.add_option("--b-amax", o->b_amax, "largest |b|")->capture_default_str();
  app.add_option("--accumulate", o->accumulate, "how K is summed, as in gemm")->type_name("NAME");
  app.add_option("--probability", o->probability, "of the probable bounds, by the model of docs/bounds.md")
      ->capture_default_str()
      ->check(CLI::Range(0., std::nextafter(1., 0.)));
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
