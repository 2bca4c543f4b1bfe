#include <memory>

#include <CLI/App.hpp>
#include <nvfp4/checkpoint.hpp>

#include "checkpoint_output.hpp"

namespace nvfp4::cli {
namespace {

struct Options : CheckpointOutput {
  std::string in, out;
  ConvertOptions convert;
  bool force = false;
};

Outcome run(const Options& o) try {
  const CheckpointSummary summary =
      convert_checkpoint(o.in, o.target(o.out, o.force), o.convert, checkpoint_watch("convert"));
  Outcome outcome = checkpoint_report(o.in, o.out, "converted", summary);
  outcome.json["format"] = o.convert.format;
  return outcome;
} catch (const std::invalid_argument& refusal) {
  throw UsageError(refusal.what());
}

}  // namespace

Run declare_convert(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("IN", o->in, "a checkpoint: .safetensors, .gguf, an index of shards, or a folder")
      ->required();
  app.add_option("-o,--output", o->out, ".safetensors or .gguf, else a folder")->required();
  app.add_option("--format", o->convert.format, format_names())->required();
  app.add_option("--drop", o->convert.drop,
                 "globs of tensors to leave out: what the format has no place for is refused");
  app.add_flag("--widen", o->convert.widen, "other blocks of a GGUF file become float32, where OUT is none");
  app.add_flag("--force", o->force, "replace an existing OUT");
  declare_checkpoint_output(app, *o);
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
