#include <bit>
#include <cmath>
#include <map>
#include <memory>

#include <CLI/App.hpp>
#include <nvfp4/bound.hpp>
#include <nvfp4/io.hpp>

#include "device.hpp"
#include "model_table.hpp"
#include "number.hpp"
#include "profile.hpp"
#include "stored_output.hpp"

namespace nvfp4::cli {
namespace {

struct Options {
  std::string a, b, out, accumulate, alpha, beta, c, bias, out_dtype = "float32", device = "cpu";
  std::int64_t split_k = 1;
  std::string against;  ///< somebody's D
  bool no_globals = false, list_models = false, force = false, bound = false;
  ProfileOptions out_profile;  ///< of D; without a dialect it is not quantized again
  std::string files() const { return a + ", " + b; }
  io::Overwrite overwrite() const { return force ? io::Overwrite::yes : io::Overwrite::no; }
};

struct Operands {
  io::Bytes a_file, b_file;
  BlockScaledTensor a, b;

  explicit Operands(const Options& o)
      : a_file(io::read_bytes(o.a)),
        b_file(io::read_bytes(o.b)),
        a(read(a_file, o.a)),
        b(read(b_file, o.b)) {}

 private:
  static BlockScaledTensor read(const io::Bytes& file, const std::string& path) {
    return io::read_quantized(*io::open_arrays(file, path == "-" ? "stdin" : path)).rows;
  }
};

OutputScaling scaling_of(const Options& o, const Operands& x) {
  OutputScaling scaling;
  if (!o.no_globals) scaling = output_scaling(x.a, x.b);
  if (!o.alpha.empty()) scaling.alpha = parse_float(o.alpha, "--alpha");
  return scaling;
}

/// One FP32 number a column, of any rank.
std::vector<float> bias_of(const std::string& path) {
  const io::Array array = only_array(path);
  const auto values = array.f32(array.info.shape);
  return {values.begin(), values.end()};
}

/// What follows the accumulator; K is cut once the operands are known.
GemmSpec spec_of(const Options& o, const Operands& x, const Accumulation& acc, const Kernels& kernels) {
  GemmSpec spec{.scaling = scaling_of(o, x), .cuts = split_k(x.a, acc, o.split_k)};
  if (!o.bias.empty()) spec.bias = bias_of(o.bias);
  if (!o.c.empty()) spec.c = converted(io::load_matrix(o.c).view(), Dtype::fp32, kernels);
  if (!o.beta.empty()) spec.beta = parse_float(o.beta, "--beta");
  return spec;
}

Matrix multiply(const Options& o, const Operands& x, const Accumulation& acc, const GemmSpec& spec,
                const Kernels& kernels) try {
  return gemm(x.a, x.b, acc, spec, kernels);
} catch (const std::invalid_argument& e) {
  throw UsageError(o.files() + (o.bias.empty() ? "" : ", " + o.bias) + (o.c.empty() ? "" : ", " + o.c) +
                   ": " + e.what());
}

/// All that, with D's own dialect, fixes the bytes of a quantized D.
std::map<std::string, io::Option> provenance(const Options& o, const Operands& x, const Accumulation& acc,
                                             const GemmSpec& spec) {
  std::map<std::string, io::Option> options{
      {"gemm_accumulate", std::string(acc.name)},
      {"gemm_alpha", hex32(std::bit_cast<std::uint32_t>(spec.scaling.alpha))},
      {"gemm_globals", !o.no_globals},
      {"gemm_split_k", o.split_k},
      {"gemm_a_sha256", io::sha256(x.a_file.view())},
      {"gemm_b_sha256", io::sha256(x.b_file.view())}};
  if (!o.bias.empty()) options["gemm_bias_sha256"] = io::sha256(io::read_bytes(o.bias).view());
  if (o.c.empty()) return options;
  options["gemm_c_sha256"] = io::sha256(io::read_bytes(o.c).view());
  options["gemm_beta"] = hex32(std::bit_cast<std::uint32_t>(spec.beta));
  return options;
}

bool quantizes(const Options& o) { return !o.out_profile.dialect.empty(); }

void write(const Options& o, const Operands& x, const Accumulation& acc, const GemmSpec& spec,
           const Matrix& d, const Kernels& kernels) {
  const Dtype dtype = dtype_named(o.out_dtype).value_or(Dtype::fp32);
  if (!quantizes(o))
    return io::write_matrix(o.out, converted(d.view(), dtype, kernels).view(), o.overwrite());
  io::QuantizedFile file;
  file.rows = kernels.quantize(d.view(), profile(o.out_profile).spec, {});
  file.options = provenance(o, x, acc, spec);
  io::write_quantized(o.out, file, o.overwrite());
}

Outcome report(const Options& o, const Operands& x, const Accumulation& acc, const GemmSpec& spec) {
  const std::string type = quantizes(o) ? "quantized by " + o.out_profile.dialect
                                        : std::string(name(dtype_named(o.out_dtype).value_or(Dtype::fp32)));
  Outcome outcome;
  outcome.to_stdout = o.out == "-";
  outcome.json = {{"a", o.a}, {"b", o.b}, {"output", o.out}};
  outcome.json.update({{"rows", x.a.rows}, {"cols", x.b.rows}, {"k", x.a.cols}});
  if (quantizes(o))
    outcome.json["out_dialect"] = o.out_profile.dialect;
  else
    outcome.json["dtype"] = type;
  outcome.json.update({{"accumulate", acc.name},
                       {"evidence", acc.evidence},
                       {"confidence", acc.confidence},
                       {"alpha", spec.scaling.alpha},
                       {"alpha_bits", hex32(std::bit_cast<std::uint32_t>(spec.scaling.alpha))},
                       {"row_globals", !spec.scaling.rows.empty()},
                       {"col_globals", !spec.scaling.cols.empty()},
                       {"cuts", spec.cuts},
                       {"device", o.device}});
  outcome.text = o.out + ": " + std::to_string(x.a.rows) + " x " + std::to_string(x.b.rows) + ' ' + type +
                 ", K " + std::to_string(x.a.cols) + ", by " + std::string(acc.name) + ", alpha " +
                 shortest(spec.scaling.alpha) + '\n';
  return outcome;
}

/// The largest error of d against the exact product, the largest bound, and where an error comes nearest its own.
struct Measured {
  double error = 0, bound = 0, ratio = 0;
  std::int64_t row = 0, col = 0, beyond = 0;

  Measured(const std::vector<OutputError>& errors, std::int64_t cols) {
    for (std::size_t i = 0; i < errors.size(); ++i) {
      const OutputError& e = errors[i];
      error = std::max(error, e.measured), bound = std::max(bound, e.bound);
      beyond += e.measured > e.bound;
      const double part = e.measured > 0 && std::isfinite(e.bound) ? e.measured / e.bound : 0;
      if (part <= ratio) continue;
      ratio = part, row = static_cast<std::int64_t>(i) / cols, col = static_cast<std::int64_t>(i) % cols;
    }
  }
  std::string text(const std::string& d) const {
    const std::string place = ", at row " + std::to_string(row) + ", column " + std::to_string(col);
    return d + " against the exact product: error " + bound_text(error) + ", bound " + bound_text(bound) +
           ", largest ratio " + bound_text(ratio) + (ratio > 0 ? place : "") + ", " + thousands(beyond) +
           " outputs beyond their bound\n";
  }
  Json json() const {
    return {{"measured", error}, {"bound", bound}, {"ratio", ratio},
            {"row", row},        {"col", col},     {"beyond", beyond}};
  }
};

void measure(Outcome& outcome, const Options& o, const Operands& x, const Accumulation& acc,
             const GemmSpec& spec, const Matrix& d, const std::string& name) try {
  const Measured found(output_errors(x.a, x.b, acc, spec, d), d.cols);
  outcome.exit_code = found.beyond > 0;
  outcome.json["error"] = found.json();
  outcome.text += found.text(name);
} catch (const std::invalid_argument& e) {
  throw UsageError(o.files() + (o.against.empty() ? "" : ", " + o.against) + ": " + e.what());
}

/// A kernel's D, held against the exact product; nothing is computed by a model.
Outcome against(const Options& o, const Operands& x, const Accumulation& acc, const GemmSpec& spec) {
  Outcome outcome;
  outcome.json = {{"a", o.a}, {"b", o.b}, {"against", o.against}, {"accumulate", acc.name}};
  measure(outcome, o, x, acc, spec, io::load_matrix(o.against), o.against);
  return outcome;
}

void require_files(const Options& o) {
  if (o.a.empty() || o.b.empty() || o.out.empty() == o.against.empty())
    throw UsageError("gemm: expected A, B and -o D or --against D, or --list-models (see --help)");
  if (!o.beta.empty() && o.c.empty()) throw UsageError("--beta needs --c, the matrix that it multiplies");
}

Outcome run(const Options& o) {
  if (o.list_models) return model_list();
  require_files(o);
  const Kernels& kernels = kernels_of(o.device);
  dtype_named(o.out_dtype);
  if (quantizes(o)) profile(o.out_profile);  // before any work: these throw for what they do not know
  const Operands x(o);
  const Accumulation& acc = o.accumulate.empty() ? default_accumulation(*x.a.spec.dialect)
                                                 : model_named(o.accumulate, "--accumulate");
  const GemmSpec spec = spec_of(o, x, acc, kernels);
  if (!o.against.empty()) return against(o, x, acc, spec);
  const Matrix d = multiply(o, x, acc, spec, kernels);
  write(o, x, acc, spec, d, kernels);
  Outcome outcome = report(o, x, acc, spec);
  if (o.bound) measure(outcome, o, x, acc, spec, d, "FP32 D");
  return outcome;
}

/// D as the next product's operand.
void declare_quantized_output(CLI::App& app, ProfileOptions& p) {
  p.dialect.clear();
  CLI::Option* dialect =
      app.add_option("--out-dialect", p.dialect,
                     "quantize D by this dialect (cutlass_epilogue, te, ...) and write a quantized tensor")
          ->type_name("NAME")
          ->excludes("--out-dtype");
  app.add_option("--out-block", p.block, "1x16|16x16|1x32: of that dialect")->needs(dialect);
  app.add_option("--out-tensor-scale", p.tensor_scale, "tensor|row: of that dialect")->needs(dialect);
  app.add_option("--out-tensor-amax", p.amax, "replaces D's own: a static scale, as epilogues have it")
      ->needs(dialect);
}

}  // namespace

Run declare_gemm(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("A", o->a, "a quantized tensor (M x K), .npz or .safetensors");
  app.add_option("B", o->b, "another (N x K): D = alpha * A * transpose(B)");
  app.add_option("-o,--output", o->out, "D (M x N): .npy, .npz or .safetensors, or - for stdout (.npy)");
  app.add_option("--accumulate", o->accumulate,
                 "how K is summed, else sm100_nvfp4, or under E8M0 scales sm100_mxfp4 or sm100_mxf8f6f4")
      ->type_name("NAME");
  app.add_flag("--list-models", o->list_models,
               "print the names that --accumulate takes, their evidence and confidence, and stop");
  app.add_option("--alpha", o->alpha, "replaces the dialects' own, of the tensor scales")->type_name("X");
  app.add_flag("--no-globals", o->no_globals, "leave the tensor and row scales out: alpha is 1 unless given");
  app.add_option("--bias", o->bias, "a float32 number a column, added to alpha * A * transpose(B)")
      ->type_name("FILE");
  app.add_option("--c", o->c, "a matrix (M x N): beta * C is added last")->type_name("FILE");
  app.add_option("--beta", o->beta, "of C, 1 without it")->type_name("X");
  app.add_option("--split-k", o->split_k, "cut K into S ranges of whole instructions, added in FP32 in order")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->type_name("S");
  app.add_option("--out-dtype", o->out_dtype, "float32|float16|bf16 (uint16 bits)")->capture_default_str();
  declare_quantized_output(app, o->out_profile);
  app.add_flag(
      "--bound", o->bound,
      "print D's largest error against the exact product, the bound (docs/bounds.md) and their ratio");
  app.add_option("--against", o->against,
                 "instead of -o: hold this D, summed in any order, against the exact product; exit 1 beyond "
                 "the bound")
      ->type_name("FILE");
  app.add_flag("--force", o->force, "replace an existing D");
  declare_device(app, o->device);
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
