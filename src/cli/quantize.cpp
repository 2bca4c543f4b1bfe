#include <array>
#include <memory>

#include <CLI/App.hpp>
#include <nvfp4/io.hpp>
#include <nvfp4/stack.hpp>
#include <nvfp4/te_random.hpp>

#include "density.hpp"
#include "device.hpp"
#include "number.hpp"
#include "profile.hpp"
#include "quantize_checkpoint.hpp"
#include "terminal.hpp"

namespace nvfp4::cli {
namespace {

struct Options {
  std::string in, out, array, tensor, input_dtype, layout = "linear", random_words, te_kernel, device = "cpu";
  std::uint64_t te_offset = 0;
  ProfileOptions profile;
  QuantizeCheckpointOptions checkpoint;
  bool transpose = false, experts = false, force = false;
  io::Overwrite overwrite() const { return force ? io::Overwrite::yes : io::Overwrite::no; }
};

ScaleLayout layout_named(const std::string& name) {
  if (const auto layout = find_scale_layout(name)) return *layout;
  throw UsageError("--layout " + name + ": expected linear, 128x4, 8x4 or 4-token");
}

/// The matrix that is quantized; `storage` keeps a transposed one.
MatrixView operand(const io::MatrixFile& file, bool transposed, Matrix& storage) {
  if (!transposed) return file.view;
  storage = transpose(file.view);
  return storage.view();
}

std::map<std::string, io::Option> manifest_options(const Options& o) {
  std::map<std::string, io::Option> options;
  if (o.transpose) options["transpose"] = true;
  if (!o.profile.producer.empty()) options["producer"] = o.profile.producer;
  if (o.profile.rht) options["rht"] = std::int64_t{o.profile.rht}, options["rht_signs"] = o.profile.rht_signs;
  if (!o.te_kernel.empty())
    options.insert({{"te_kernel", o.te_kernel},
                    {"te_seed", std::to_string(o.profile.seed)},
                    {"te_offset", std::to_string(o.te_offset)}});
  return options;
}

ProducerResult quantize_matrix(const Producer& producer, MatrixView x, const Options& o) try {
  return nvfp4::quantize(producer, x, kernels_of(o.device));
} catch (const std::invalid_argument& refusal) {
  throw UsageError(o.in + ": " + refusal.what());
}

double bits_per_element(const BlockScaledTensor& t) {
  return stored_bits(t) / static_cast<double>(t.rows * t.cols);
}

Outcome report(const Options& o, const Producer& producer, const BlockScaledTensor& rows, Dtype dtype) {
  Outcome outcome;
  outcome.to_stdout = o.out == "-";
  outcome.json = {{"input", o.in},        {"output", o.out},
                  {"dtype", name(dtype)}, {"rows", rows.rows},
                  {"cols", rows.cols},    {"layout", o.layout},
                  {"device", o.device},   {"bits_per_element", bits_per_element(rows)}};
  outcome.json.update(describe_profile(producer));
  outcome.text = o.out + ": " + std::to_string(rows.rows) + " x " + std::to_string(rows.cols) + ' ' +
                 std::string(name(dtype)) + " by " + std::string(rows.spec.dialect->name) + ", blocks " +
                 block_name(rows.spec.block) + ", " + fixed(bits_per_element(rows), 2) +
                 " bits per element\n";
  return outcome;
}

/// The words that a kernel of Transformer Engine draws for an output of this shape.
std::vector<std::uint32_t> te_words(const Options& o, MatrixView x) {
  const TeRandomMap* map = find_te_random_map(o.te_kernel);
  std::string names;
  for (const TeRandomMap& m : te_random_maps()) names += (names.empty() ? "" : ", ") + std::string(m.name);
  if (!map) throw UsageError("--te-kernel " + o.te_kernel + ": expected one of " + names);
  try {
    return te_random_words(*map, x.rows, x.cols, o.profile.seed, o.te_offset);
  } catch (const std::invalid_argument& refusal) {
    throw UsageError(o.in + ": --te-kernel " + o.te_kernel + ": " + refusal.what());
  }
}

/// The random words of --random-words or --te-kernel, if any.
std::vector<std::uint32_t> read_words(const Options& o, MatrixView x, const QuantizeSpec& spec) {
  if (o.random_words.empty() && o.te_kernel.empty()) return {};
  const std::string option = o.te_kernel.empty() ? "--random-words" : "--te-kernel";
  if (!spec.stochastic) throw UsageError(option + " needs --rounding sr");
  if (o.profile.columns)
    throw UsageError(option + " is for one operand: quantize the columns with --transpose");
  if (!o.te_kernel.empty()) return te_words(o, x);
  const io::Array array = io::open_arrays(o.random_words)->read("");
  const auto words = array.u32(std::array{x.rows, (x.cols + 15) / 16 * 4});
  return {words.begin(), words.end()};
}

/// The seed, where it is in the output's bytes.
std::uint64_t seed_of(const Producer& producer) {
  const auto& stochastic = producer.spec.stochastic;
  return stochastic && !stochastic->from_caller ? stochastic->random.seed : producer.seed;
}

Outcome quantize_one(const Options& o) {
  Producer producer = profile(o.profile);
  const ScaleLayout layout = layout_named(o.layout);
  const io::MatrixFile in = io::open_matrix(o.in, {o.array, o.tensor, dtype_named(o.input_dtype)});
  Matrix storage;
  const MatrixView x = operand(in, o.transpose, storage);
  const std::vector<std::uint32_t> words = read_words(o, x, producer.spec);
  if (!words.empty()) producer.spec.stochastic->from_caller = true, producer.spec.stochastic->words = words;
  ProducerResult result = quantize_matrix(producer, x, o);
  const io::QuantizedFile file{std::move(result.rows),
                               std::move(result.columns),
                               layout,
                               manifest_options(o),
                               {.seed = seed_of(producer), .input_sha256 = io::sha256(in.file.view())}};
  io::write_quantized(o.out, file, o.overwrite());
  return report(o, producer, file.rows, in.view.dtype);
}

Outcome quantize_experts(const Options& o) {
  const Producer producer = profile(o.profile);
  const ScaleLayout layout = layout_named(o.layout);
  const io::MatrixFile in = io::open_matrix(o.in, {o.array, o.tensor, dtype_named(o.input_dtype)});
  io::QuantizedStack stack;
  stack.layout = layout;
  stack.provenance.input_sha256 = io::sha256(in.file.view());
  stack.experts = quantize_stack(in.view, experts_of(in.array), producer.spec, kernels_of(o.device));
  io::write_quantized(o.out, stack, o.overwrite());
  Outcome outcome = report(o, producer, stack.experts[0], in.view.dtype);
  outcome.json["experts"] = stack.experts.size();
  outcome.text = std::to_string(stack.experts.size()) + " experts, each " + outcome.text;
  return outcome;
}

void refuse_beside_experts(const CLI::App& app) {
  for (const char* option : {"--producer", "--columns", "--tensor-amax", "--transpose", "--rht", "--rounding",
                             "--random-words", "--te-kernel", "--format", "--include", "--exclude",
                             "--stacks", "--shared-scale", "--input-amax", "--shard-size", "--resume"})
    if (app.count(option) > 0)
      throw UsageError(std::string(option) + " is for one matrix, not for a stack of experts");
}

void refuse_matrix_options(const CLI::App& app) {
  for (const char* option : {"--producer", "--columns", "--tensor-amax", "--transpose", "--rht", "--rounding",
                             "--random-words", "--layout", "--input-dtype"})
    if (app.count(option) > 0)
      throw UsageError(std::string(option) + " is for one matrix, not for a checkpoint");
}

Outcome run(const Options& o, const CLI::App& app) {
  kernels_of(o.device);
  if (o.experts) {
    refuse_beside_experts(app);
    return quantize_experts(o);
  }
  if (o.checkpoint.format.empty()) {
    for (const char* option :
         {"--include", "--exclude", "--stacks", "--shared-scale", "--input-amax", "--shard-size", "--resume"})
      if (app.count(option) > 0)
        throw UsageError(std::string(option) + " needs --format: it is of a whole checkpoint");
    return quantize_one(o);
  }
  refuse_matrix_options(app);
  if (!o.tensor.empty() || !o.array.empty())
    throw UsageError("--format takes the whole file: drop --tensor and --array");
  return quantize_checkpoint(o.in, o.out, o.force, o.checkpoint, o.profile, app.count("--dialect") > 0,
                             kernels_of(o.device));
}

}  // namespace

Run declare_quantize(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("IN", o->in,
                 ".npy, .npz, .safetensors, or - for stdin; with --format a checkpoint, also a folder")
      ->required();
  app.add_option("-o,--output", o->out, ".npz or .safetensors, or - for stdout (.npz)")->required();
  declare_profile(app, o->profile);
  app.add_flag("--transpose", o->transpose, "quantize the transpose instead");
  app.add_flag("--experts", o->experts,
               "IN is a stack (experts, rows, columns): a second-level scale for each");
  app.add_option("--layout", o->layout, "linear|128x4|8x4|4-token: all but linear add scales_swizzled")
      ->capture_default_str();
  app.add_option("--array", o->array, "which array of an .npz");
  app.add_option("--tensor", o->tensor, "which tensor of a .safetensors");
  app.add_option("--input-dtype", o->input_dtype, "bf16: uint16 elements are BF16 bits");
  app.add_option(
      "--random-words", o->random_words,
      ".npy, uint32 (rows, ceil(columns / 16) * 4) of what is quantized: the random bits of --rounding sr, "
      "a word for 4 elements");
  app.add_option("--te-kernel", o->te_kernel,
                 "the random words that this kernel of Transformer Engine draws, of --seed and --te-offset")
      ->excludes("--random-words");
  app.add_option("--te-offset", o->te_offset, "the generator's offset when that kernel is called")
      ->capture_default_str();
  declare_quantize_checkpoint(app, o->checkpoint);
  app.add_flag("--force", o->force, "replace an existing OUT");
  declare_device(app, o->device);
  return [o, &app] { return run(*o, app); };
}

}  // namespace nvfp4::cli
