#include "quantize_checkpoint.hpp"

#include <CLI/App.hpp>
#include <nvfp4/io.hpp>

namespace nvfp4::cli {
namespace {

/// {"MODULE": AMAX, ...}
std::map<std::string, float> read_amaxes(const std::string& path) {
  if (path.empty()) return {};
  const io::Bytes bytes = io::read_bytes(path);
  const Json json = Json::parse(reinterpret_cast<const char*>(bytes.data()),
                                reinterpret_cast<const char*>(bytes.data()) + bytes.size(), nullptr, false);
  if (!json.is_object()) throw UsageError(path + ": expected a JSON object of module names and numbers");
  std::map<std::string, float> amaxes;
  for (const auto& [module, amax] : json.items()) {
    if (!amax.is_number())
      throw UsageError(path + ": '" + module + "': expected a number, found " + amax.dump());
    amaxes[module] = amax.get<float>();
  }
  return amaxes;
}

}  // namespace

void declare_quantize_checkpoint(CLI::App& app, QuantizeCheckpointOptions& o) {
  app.add_option("--format", o.format,
                 format_names() +
                     ": IN is a whole checkpoint, OUT one by that convention; "
                     "a .safetensors or .gguf file, else a folder");
  app.add_option("--include", o.include, "with --format: globs of tensors to quantize instead of *.weight");
  app.add_option("--exclude", o.exclude,
                 "with --format: globs of tensors to keep, instead of embeddings, norms, routers and heads");
  app.add_option(
      "--stacks", o.stacks,
      "with --format: globs of stacks of experts (E, N, K) to quantize expert by expert, instead of "
      "*_exps.weight");
  app.add_flag("--shared-scale", o.shared_scale,
               "with --format: q, k and v, and gate and up, get one second-level scale, of their joint amax");
  app.add_option(
      "--input-amax", o.input_amax,
      "with --format: JSON, the largest magnitude of each module's input; gives the activations' scales");
  declare_checkpoint_output(app, o);
}

Outcome quantize_checkpoint(const std::string& in, const std::string& out, bool force,
                            const QuantizeCheckpointOptions& o, ProfileOptions profile, bool dialect_given,
                            const Kernels& kernels) try {
  if (!dialect_given) profile.dialect = producer_of(o.format).name;
  CheckpointOptions options{.format = o.format, .spec = cli::profile(profile).spec};
  if (!o.include.empty()) options.include = o.include;
  if (!o.exclude.empty()) options.exclude = o.exclude;
  if (!o.stacks.empty()) options.stacks = o.stacks;
  options.shared_scale = o.shared_scale;
  options.input_amax = read_amaxes(o.input_amax);
  const CheckpointSummary summary =
      nvfp4::quantize_checkpoint(in, o.target(out, force), options, kernels, checkpoint_watch("quantize"));
  Outcome outcome = checkpoint_report(in, out, "quantized", summary);
  outcome.json["format"] = o.format;
  outcome.json["dialect"] = profile.dialect;
  return outcome;
} catch (const std::invalid_argument& refusal) {
  throw UsageError(refusal.what());
}

}  // namespace nvfp4::cli
