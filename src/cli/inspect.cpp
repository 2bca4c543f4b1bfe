#include <memory>

#include <CLI/App.hpp>
#include <nvfp4/io.hpp>

#include "checkpoint_output.hpp"
#include "golden_file.hpp"
#include "inspect_checkpoint.hpp"
#include "number.hpp"
#include "profile.hpp"
#include "scale_histogram.hpp"
#include "terminal.hpp"

namespace nvfp4::cli {
namespace {

struct Options {
  std::string file;
  bool all = false;
};

std::int64_t elements(const io::ArrayInfo& info) {
  std::int64_t n = 1;
  for (const std::int64_t extent : info.shape) n *= extent;
  return n;
}

// A quantized tensor with its manifest.

void add_scales(const BlockScaledTensor& t, ScaleHistogram& histogram) {
  for (std::int64_t row = 0; row < t.rows; row += t.spec.block.rows)
    histogram.add(std::span(t.scales).subspan(static_cast<std::size_t>(row * t.blocks_per_row()),
                                              static_cast<std::size_t>(t.blocks_per_row())));
}

std::string extent_text(const Json& shape) {
  std::string text;
  for (const Json& extent : shape) text += (text.empty() ? "" : " x ") + extent.dump();
  return text;
}

/// One tensor, or a stack's experts together; `stored` is how their file has them.
template <class Stored>
Outcome inspect_experts(const Stored& stored, std::span<const BlockScaledTensor> experts, const Json& shape) {
  const BlockScaledTensor& first = experts.front();
  const Dialect& dialect = *first.spec.dialect;
  ScaleHistogram histogram;
  std::size_t codes = 0, globals = 0;
  for (const BlockScaledTensor& t : experts) {
    add_scales(t, histogram);
    codes += t.codes.size();
    globals += t.global.size();
  }
  const auto parameters = static_cast<std::int64_t>(experts.size()) * first.rows * first.cols;
  const double density =
      bits_each(static_cast<std::int64_t>(codes + 4 * globals) + histogram.blocks, parameters);
  Outcome outcome;
  outcome.json = {{"kind", "tensor"},
                  {"format", "nvfp4"},
                  {"dialect", dialect.name},
                  {"block", block_name(first.spec.block)},
                  {"shape", shape},
                  {"layout", name(stored.layout)},
                  {"global_is", name(dialect.global_is)},
                  {"global_count", globals},
                  {"bits_per_parameter", density},
                  {"scales", histogram_json(histogram)},
                  {"manifest", Json::parse(io::manifest_json(stored))}};
  if (globals == 1) outcome.json["global"] = shortest(first.global[0]);
  outcome.text = "NVFP4 by " + std::string(dialect.name) + ", " + extent_text(shape) + ", blocks " +
                 block_name(first.spec.block) + ", " + fixed(density, 3) + " bits per parameter\n  " +
                 (globals == 1 ? "tensor scale " + shortest(first.global[0])
                               : std::to_string(globals) + " second-level scales") +
                 " (" + std::string(name(dialect.global_is)) + ")\n" + histogram_text(histogram);
  return outcome;
}

Outcome inspect_quantized(const io::ArrayFile& file) {
  if (io::holds_stack(file)) {
    const io::QuantizedStack stack = io::read_stack(file);
    const BlockScaledTensor& t = stack.experts.front();
    return inspect_experts(stack, stack.experts, {stack.experts.size(), t.rows, t.cols});
  }
  const io::QuantizedFile q = io::read_quantized(file);
  Outcome outcome = inspect_experts(q, {&q.rows, 1}, {q.rows.rows, q.rows.cols});
  outcome.json["columns"] = q.columns.has_value();
  if (q.columns) outcome.text += "  with columns\n";
  return outcome;
}

// .npy and .npz: arrays as they are.

Json inspect_array(const io::ArrayInfo& info) {
  return {{"name", info.name},
          {"format", io::info(info.type).safetensors},
          {"shape", info.shape},
          {"bits_per_parameter", io::info(info.type).bits}};
}

std::string line_of(const Json& array) {
  const std::string shape = extent_text(array["shape"]);
  return "  " + array["name"].get<std::string>() + "  " + array["format"].get<std::string>() + "  " +
         (shape.empty() ? "scalar" : shape) + "\n";
}

Outcome inspect_arrays(const io::ArrayFile& file) {
  std::int64_t parameters = 0;
  std::int64_t bytes = 0;
  Outcome outcome;
  Json arrays = Json::array();
  for (const std::string& name : file.names()) {
    const io::ArrayInfo info = file.info(name);
    arrays.push_back(inspect_array(info));
    parameters += elements(info);
    bytes += static_cast<std::int64_t>(byte_size(info));
    outcome.text += line_of(arrays.back());
  }
  outcome.text = std::string(file.container()) + ", " + std::to_string(arrays.size()) + " tensors, " +
                 thousands(parameters) + " elements, " + fixed(bits_each(bytes, parameters), 3) +
                 " bits each\n" + outcome.text;
  outcome.json = {{"kind", file.container()},
                  {"tensors", std::move(arrays)},
                  {"parameters", parameters},
                  {"bytes", bytes},
                  {"bits_per_parameter", bits_each(bytes, parameters)}};
  return outcome;
}

Outcome inspect_file(const Options& o) {
  const io::Bytes bytes = io::read_bytes(o.file);
  const auto file = io::open_arrays(bytes, o.file == "-" ? "stdin" : o.file);
  if (is_checkpoint(*file))
    return checkpoint_outcome(inspect_checkpoint(bytes, o.file, 0, checkpoint_watch("inspect")), o.all);
  return holds_quantized(*file) ? inspect_quantized(*file) : inspect_arrays(*file);
}

Outcome run(const Options& o) {
  Outcome outcome =
      has_shards(o.file)
          ? checkpoint_outcome(inspect_checkpoint(o.file, 0, checkpoint_watch("inspect")), o.all)
          : inspect_file(o);
  outcome.json["file"] = o.file;
  outcome.text = o.file + ": " + outcome.text;
  return outcome;
}

}  // namespace

Run declare_inspect(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option(
         "PATH", o->file,
         ".npz or .npy: a tensor; .safetensors, .gguf, an index of shards, or a folder: a checkpoint; - for "
         "stdin")
      ->required();
  app.add_flag("--all", o->all, "every layer of a checkpoint on lines of its own");
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
