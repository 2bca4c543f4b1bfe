#include <algorithm>
#include <memory>

#include <CLI/App.hpp>
#include <nvfp4/cases.hpp>
#include <nvfp4/io/recipe.hpp>
#include <nvfp4/version.hpp>

#include "device.hpp"
#include "golden_file.hpp"
#include "golden_gemm.hpp"
#include "golden_linear.hpp"
#include "golden_mma.hpp"
#include "golden_probes.hpp"
#include "mma_cases.hpp"
#include "model_table.hpp"
#include "number.hpp"
#include "profile.hpp"
#include "recipe_argument.hpp"
#include "terminal.hpp"

namespace nvfp4::cli {
namespace {

struct Options {
  std::string out, kind = "quantize", recipe = "nvidia", accumulate, input_dtype = "float32", device = "cpu";
  ProfileOptions profile;
  InstructionFormats formats;
  std::vector<std::string> packs;
  bool force = false;
};

/// The file while it grows: `arrays` own what write_npz takes as views.
struct GoldenFile {
  std::vector<GoldenArray> arrays{};
  std::vector<std::string> refused{};
  std::int64_t cases = 0;
};

std::vector<std::string> packs_of(const Options& o, std::span<const std::string_view> known) {
  for (const std::string& pack : o.packs)
    if (std::find(known.begin(), known.end(), pack) == known.end()) {
      std::string names;
      for (const std::string_view k : known) names += (names.empty() ? "" : ", ") + std::string(k);
      throw UsageError("unknown case pack '" + pack + "': expected one of " + names);
    }
  return o.packs.empty() ? std::vector<std::string>(known.begin(), known.end()) : o.packs;
}

io::ElementType stored_type(Dtype dtype) {
  return dtype == Dtype::fp32   ? io::ElementType::f32
         : dtype == Dtype::fp16 ? io::ElementType::f16
                                : io::ElementType::u16;
}

void add(GoldenFile& file, const std::string& name, GoldenArray array) {
  array.info.name = name + "/" + array.info.name;
  file.arrays.push_back(std::move(array));
}

/// A case that the producer refuses keeps its input and has no results.
void add_case(GoldenFile& file, const Case& c, const Producer& producer, const Kernels& kernels,
              bool with_transform) {
  add(file, c.name, {{"input", stored_type(c.input.dtype), {c.input.rows, c.input.cols}}, c.input.bytes});
  try {
    for (GoldenArray& array : golden_arrays(nvfp4::quantize(producer, c.input.view(), kernels), kernels))
      add(file, c.name, std::move(array));
    if (with_transform) add(file, c.name, transformed_array(producer, c.input.view(), kernels));
    ++file.cases;
  } catch (const std::invalid_argument&) {
    file.refused.push_back(c.name);
  }
}

/// What of any kind made the file: the producer, and what its arrays mean.
Json manifest(const Options& o, const Producer& producer) {
  Json json = describe_profile(producer);
  const Dialect& dialect = *producer.spec.dialect;
  json["kind"] = o.kind;
  json["columns"] = producer.columns;
  json["dialect_version"] = dialect.version;
  json["global_is"] = name(dialect.global_is);
  if (dialect.global_is == GlobalIs::amax) json["global_divisor"] = global_divisor(producer.spec);
  json["scale_format"] = dialect.scale == Format::e8m0 ? "e8m0" : "e4m3";
  json["provenance"] = {{"library_version", NVFP4_VERSION}, {"seed", o.profile.seed}};
  return json;
}

Json manifest(const Options& o, const Producer& producer, const std::vector<std::string>& packs,
              const GoldenFile& file) {
  Json json = manifest(o, producer);
  json["packs"] = packs;
  json["input_dtype"] = name(*dtype_named(o.input_dtype));
  json["refused"] = file.refused;
  return json;
}

void write(const Options& o, GoldenFile& file, const std::string& manifest) {
  const auto bytes = std::as_bytes(std::span(manifest));
  file.arrays.push_back({{"manifest", io::ElementType::u8, {static_cast<std::int64_t>(manifest.size())}},
                         {bytes.begin(), bytes.end()}});
  std::vector<io::ArrayView> views;
  for (const GoldenArray& array : file.arrays) views.push_back({array.info, array.bytes});
  io::write_npz(o.out, views, o.force ? io::Overwrite::yes : io::Overwrite::no);
}

Outcome make_linear(const Options& o) {
  const Recipe recipe = recipe_named(o.recipe);
  GoldenFile file{.arrays = linear_cases(recipe, o.profile.seed, kernels_of(o.device))};
  const Json manifest{{"kind", o.kind},
                      {"recipe", Json::parse(io::to_json(recipe))},
                      {"seed", o.profile.seed},
                      {"provenance", {{"library_version", NVFP4_VERSION}, {"seed", o.profile.seed}}}};
  const auto cases = file.arrays.size() / 6;
  write(o, file, manifest.dump());
  Outcome outcome;
  outcome.to_stdout = o.out == "-";
  outcome.json = {{"output", o.out},
                  {"kind", o.kind},
                  {"recipe", recipe.name},
                  {"cases", cases},
                  {"seed", o.profile.seed}};
  outcome.text = o.out + ": " + std::to_string(cases) + " linear layers by " + recipe.name + "\n";
  return outcome;
}

const Accumulation& model_of(const Options& o, const Producer& producer) {
  return o.accumulate.empty() ? default_accumulation(*producer.spec.dialect)
                              : model_named(o.accumulate, "--accumulate");
}

/// Of the instruction that sums what the producer makes, or of the one that is named.
Outcome make_mma(const Options& o) {
  const Instruction x = instruction(model_of(o, profile(o.profile)), o.formats);
  const std::vector<std::string> packs = packs_of(o, mma_packs());
  GoldenFile file{.arrays = mma_arrays(x, packs, o.profile.seed, kernels_of(o.device))};
  Json json{{"kind", o.kind}, {"accumulate", x.acc.name}, {"out_dtype", o.formats.out_dtype}};
  if (x.acc.sum != Summation::fp64_fma) json["a_format"] = info(x.a).name, json["b_format"] = info(x.b).name;
  json["packs"] = packs;
  json["seed"] = o.profile.seed;
  Json manifest = json;
  manifest["evidence"] = x.acc.evidence;
  manifest["provenance"] = {{"library_version", NVFP4_VERSION}, {"seed", o.profile.seed}};
  write(o, file, manifest.dump());
  Outcome outcome;
  outcome.to_stdout = o.out == "-";
  outcome.json = json;
  outcome.json.update({{"output", o.out}, {"cases", packs.size()}});
  outcome.text = o.out + ": " + std::to_string(packs.size()) + " cases by " + std::string(x.acc.name) + "\n";
  return outcome;
}

Outcome make_probes(const Options& o) {
  GoldenFile file{.arrays = probe_arrays(kernels_of(o.device))};
  const Json sets = describe_probes();
  const Json manifest{{"kind", o.kind}, {"sets", sets}, {"provenance", {{"library_version", NVFP4_VERSION}}}};
  write(o, file, manifest.dump());
  Outcome outcome;
  outcome.to_stdout = o.out == "-";
  outcome.json = {{"output", o.out}, {"kind", o.kind}, {"cases", sets.size()}};
  outcome.text = o.out + ":";
  for (const auto& [name, set] : sets.items()) {
    outcome.json["probes"][name] = set["probes"].size();
    outcome.text += " " + name + " " + std::to_string(set["probes"].size()) + " probes, " +
                    std::to_string(set["hypotheses"].size()) + " hypotheses;";
  }
  outcome.text.back() = '\n';
  return outcome;
}

Outcome make_gemm(const Options& o) {
  const Producer producer = profile(o.profile);
  const Accumulation& acc = model_of(o, producer);
  GoldenFile file{.arrays = gemm_cases(producer, acc, o.profile.seed, kernels_of(o.device))};
  const auto cases = std::ranges::count_if(
      file.arrays, [](const GoldenArray& array) { return array.info.name.ends_with("/d"); });
  Json json = manifest(o, producer);
  json["accumulate"] = acc.name;
  write(o, file, json.dump());
  Outcome outcome;
  outcome.to_stdout = o.out == "-";
  outcome.json = describe_profile(producer);
  outcome.json.update({{"output", o.out},
                       {"kind", o.kind},
                       {"accumulate", acc.name},
                       {"cases", cases},
                       {"seed", o.profile.seed}});
  outcome.text = o.out + ": " + std::to_string(cases) + " products by " +
                 std::string(producer.spec.dialect->name) + " and " + std::string(acc.name) + "\n";
  return outcome;
}

Outcome make_quantized(const Options& o) {
  ProfileOptions by = o.profile;
  if (o.kind == "rht" && by.rht == 0 && by.producer.empty()) by.rht = 16;
  const Producer producer = profile(by);
  if (o.kind == "rht" && producer.rht == 0)
    throw UsageError("--kind rht: producer " + std::string(producer.name) + " transforms nothing");
  const Kernels& kernels = kernels_of(o.device);
  const Dtype dtype = dtype_named(o.input_dtype).value_or(Dtype::fp32);
  const std::vector<std::string> packs = packs_of(o, case_packs());
  GoldenFile file;
  for (const std::string& pack : packs)
    for (const Case& c : make_cases(pack, dtype, o.profile.seed))
      add_case(file, c, producer, kernels, o.kind == "rht");
  write(o, file, manifest(o, producer, packs, file).dump());

  Outcome outcome;
  outcome.to_stdout = o.out == "-";
  outcome.json = describe_profile(producer);
  outcome.json.update({{"output", o.out},
                       {"cases", file.cases},
                       {"refused", file.refused},
                       {"packs", packs},
                       {"seed", o.profile.seed}});
  outcome.text = o.out + ": " + std::to_string(file.cases) + " cases by " +
                 std::string(producer.spec.dialect->name) + ' ' + block_name(producer.spec.block) + ", " +
                 std::to_string(file.refused.size()) + " refused\n";
  return outcome;
}

Outcome run(const Options& o) {
  if (o.kind == "linear") return make_linear(o);
  if (o.kind == "gemm") return make_gemm(o);
  if (o.kind == "mma") return make_mma(o);
  if (o.kind == "probes") return make_probes(o);
  if (o.kind == "quantize" || o.kind == "rht") return make_quantized(o);
  throw UsageError("--kind " + o.kind + ": expected quantize, rht, gemm, linear, mma or probes");
}

}  // namespace

Run declare_golden_make(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("-o,--output", o->out, ".npz, or - for stdout")->required();
  declare_profile(app, o->profile);
  app.add_option(
         "--kind", o->kind,
         "quantize|rht|gemm|linear|mma|probes: rht adds what the transform made; gemm has products and mma "
         "single instructions, by --accumulate; linear has layers, by --recipe; probes what tells "
         "hypotheses about Blackwell's FP4 instructions apart")
      ->capture_default_str();
  app.add_option("--recipe", o->recipe, "of --kind linear: FILE.json, or one of " + recipe_names())
      ->capture_default_str();
  app.add_option("--accumulate", o->accumulate,
                 "of --kind gemm and mma, else the dialect's own: a name of nvfp4 gemm --list-models")
      ->type_name("NAME");
  declare_instruction_formats(app, o->formats);
  app.add_option(
         "--pack", o->packs,
         "case packs, all without it: ties, zeros, witnesses, ...; of --kind mma cancelled, large_c, ...")
      ->delimiter(',');
  app.add_option("--input-dtype", o->input_dtype, "float32|bf16|float16: of the inputs")
      ->capture_default_str();
  app.add_flag("--force", o->force, "replace an existing file");
  declare_device(app, o->device);
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
