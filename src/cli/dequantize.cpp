#include <memory>

#include <CLI/App.hpp>
#include <nvfp4/io.hpp>
#include <nvfp4/stack.hpp>

#include "checkpoint_output.hpp"
#include "device.hpp"
#include "number.hpp"

namespace nvfp4::cli {
namespace {

struct Options : CheckpointOutput {
  std::string in, out, out_dtype = "float32", device = "cpu";
  bool force = false;
};

Outcome report(const Options& o, MatrixView out, const Dialect& dialect, std::int64_t experts) {
  Outcome outcome;
  outcome.to_stdout = o.out == "-";
  outcome.json = {{"input", o.in},    {"output", o.out},  {"dialect", dialect.name},
                  {"rows", out.rows}, {"cols", out.cols}, {"dtype", name(out.dtype)}};
  if (experts) outcome.json["experts"] = experts;
  outcome.text = o.out + ": " + std::to_string(out.rows) + " x " + std::to_string(out.cols) + ' ' +
                 std::string(name(out.dtype)) + " by " + std::string(dialect.name) + '\n';
  return outcome;
}

Outcome dequantize_all(const Options& o, Dtype dtype, const Kernels& kernels) try {
  const CheckpointSummary summary =
      dequantize_checkpoint(o.in, o.target(o.out, o.force), dtype, kernels, checkpoint_watch("dequantize"));
  Outcome outcome = checkpoint_report(o.in, o.out, "dequantized", summary);
  outcome.json["dtype"] = name(dtype);
  return outcome;
} catch (const std::invalid_argument& refusal) {
  throw UsageError(refusal.what());
}

Outcome run(const Options& o, const CLI::App& app) {
  const Kernels& kernels = kernels_of(o.device);
  const Dtype dtype = dtype_named(o.out_dtype).value_or(Dtype::fp32);
  const io::Overwrite overwrite = o.force ? io::Overwrite::yes : io::Overwrite::no;
  if (has_shards(o.in)) return dequantize_all(o, dtype, kernels);
  const auto file = io::open_arrays(o.in);
  if (o.in != "-" && is_checkpoint(*file)) return dequantize_all(o, dtype, kernels);
  for (const char* option : {"--shard-size", "--resume"})
    if (app.count(option) > 0)
      throw UsageError(std::string(option) + " is of a whole checkpoint, not of one tensor");
  if (io::holds_stack(*file)) {
    const auto experts = io::read_stack(*file).experts;
    const auto count = static_cast<std::int64_t>(experts.size());
    const Matrix out = converted(dequantize_stack(experts, kernels).view(), dtype, kernels);
    io::write_stack(o.out, out.view(), count, overwrite);
    return report(o, out.view(), *experts[0].spec.dialect, count);
  }
  const io::QuantizedFile in = io::read_quantized(*file);
  const Matrix out = converted(kernels.dequantize(in.rows).view(), dtype, kernels);
  io::write_matrix(o.out, out.view(), overwrite);
  return report(o, out.view(), *in.rows.spec.dialect, 0);
}

}  // namespace

Run declare_dequantize(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("IN", o->in, "a quantized tensor, .npz or .safetensors, or - for stdin; or a checkpoint")
      ->required();
  app.add_option("-o,--output", o->out,
                 ".npy, .npz or .safetensors, or - for stdout (.npy); of a checkpoint .safetensors, .gguf or "
                 "a folder")
      ->required();
  app.add_option("--out-dtype", o->out_dtype, "float32|float16|bf16 (uint16 bits)")->capture_default_str();
  app.add_flag("--force", o->force, "replace an existing OUT");
  declare_device(app, o->device);
  declare_checkpoint_output(app, *o);
  return [o, &app] { return run(*o, app); };
}

}  // namespace nvfp4::cli
