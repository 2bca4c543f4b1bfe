#include <algorithm>
#include <memory>
#include <set>

#include <CLI/App.hpp>
#include <nvfp4/stack.hpp>

#include "case_check.hpp"
#include "device.hpp"
#include "golden_gemm.hpp"
#include "golden_linear.hpp"
#include "golden_mma.hpp"
#include "golden_probes.hpp"
#include "junit.hpp"
#include "number.hpp"
#include "profile.hpp"
#include "raw_dump.hpp"
#include "terminal.hpp"

namespace nvfp4::cli {
namespace {

struct Options {
  std::string file, inputs, raw_input, raw_array, raw_tensor, input_dtype, compare = "bytes", junit,
                                                                           device = "cpu";
  RawDump dump;
  ProfileOptions profile;
  bool experts = false, force = false;
};

CompareMode mode_named(const std::string& name) {
  if (name == "bytes") return CompareMode::bytes;
  if (name == "values") return CompareMode::values;
  throw UsageError("--compare " + name + ": expected bytes or values");
}

Json read_manifest(const io::ArrayFile& file) {
  if (!file.contains("manifest"))
    throw UsageError(file.file() + ": no manifest: expected --producer or --dialect to say what made it");
  const io::Array array = file.read("manifest");
  const auto bytes = array.u8(array.info.shape);
  Json manifest = Json::parse(bytes.begin(), bytes.end(), nullptr, false);
  if (!manifest.is_object()) array.refuse("the JSON text of an object", "something else");
  return manifest;
}

/// What made the file, by the manifest that `golden make` wrote.
class ManifestReader {
 public:
  explicit ManifestReader(const io::ArrayFile& file) : file_(file.file()), manifest_(read_manifest(file)) {}

  bool is(const char* kind) const { return manifest_.value("kind", Json()) == kind; }
  const Accumulation& accumulation() const {
    const std::string name = text("accumulate");
    if (const Accumulation* acc = find_accumulation(name)) return *acc;
    refuse("accumulate", "a model of nvfp4 gemm --list-models", name);
  }
  Instruction instruction() const {
    InstructionFormats formats{.out_dtype = text("out_dtype")};
    if (manifest_.contains("a_format")) formats.a = text("a_format"), formats.b = text("b_format");
    try {
      return cli::instruction(accumulation(), formats);
    } catch (const std::exception& e) {
      refuse("a_format, b_format, out_dtype", "those of an instruction", e.what());
    }
  }
  std::vector<std::string> packs() const {
    const Json packs = manifest_.value("packs", Json());
    if (!packs.is_array() || !std::ranges::all_of(packs, &Json::is_string))
      refuse("packs", "names of cases", packs.dump());
    return packs.get<std::vector<std::string>>();
  }
  Recipe recipe() const {
    if (!manifest_.contains("recipe")) refuse("recipe", "a recipe", "none");
    return io::parse_recipe(manifest_["recipe"].dump(), file_);
  }
  std::uint64_t seed() const {
    const Json seed = manifest_.value("seed", Json());
    if (!seed.is_number_unsigned()) refuse("seed", "an integer from 0 to 2^64 - 1", seed.dump());
    return seed.get<std::uint64_t>();
  }

  /// `o` holds what the command line says beyond the manifest.
  Producer producer(ProfileOptions o) const {
    if (manifest_.contains("producer")) o.producer = text("producer");
    o.dialect = text("dialect");
    o.block = text("block");
    o.tensor_scale = text("tensor_scale");
    o.columns = manifest_.value("columns", Json(false)) == Json(true);
    if (manifest_.contains("rht")) o.rht = static_cast<int>(number("rht")), o.rht_signs = text("rht_signs");
    if (manifest_.contains("seed")) o.seed = seed();
    if (manifest_.contains("e4m3_max")) {
      o.e4m3_max = static_cast<int>(number("e4m3_max"));
      o.select = text("select");
      o.error_fast = manifest_.value("error_fast", Json(false)) == Json(true);
    }
    if (manifest_.contains("tensor_amax")) o.amax = number("tensor_amax");
    if (manifest_.contains("rounding")) {
      o.rounding = text("rounding"), o.random_map = text("random_map"), o.sr_rule = text("sr_rule");
    }
    Producer made_by = profile(o);
    const std::string_view version = made_by.spec.dialect->version;
    if (text("dialect_version") != version)
      refuse("dialect_version", std::string(version), text("dialect_version"));
    return made_by;
  }

 private:
  [[noreturn]] void refuse(const std::string& field, const std::string& expected,
                           const std::string& found) const {
    throw io::FileError(file_, "manifest field '" + field + "'", expected, found);
  }
  std::string text(const std::string& field) const {
    if (!manifest_.contains(field) || !manifest_[field].is_string()) refuse(field, "a string", "none");
    return manifest_[field].get<std::string>();
  }
  float number(const std::string& field) const {
    if (!manifest_[field].is_number()) refuse(field, "a number", manifest_[field].type_name());
    return manifest_[field].get<float>();
  }

  std::string file_;
  Json manifest_;
};

/// CASE of each CASE/input; in a file that has none of those, every array is an input by its own name.
std::vector<std::string> input_names(const io::ArrayFile& inputs) {
  std::vector<std::string> cases, bare;
  for (const std::string& name : inputs.names())
    if (name.ends_with("/input"))
      cases.push_back(name.substr(0, name.size() - 6));
    else
      bare.push_back(name);
  return cases.empty() ? bare : cases;
}

std::vector<io::Array> results_of(const io::ArrayFile& file, const io::GoldenCase& c) {
  std::vector<io::Array> arrays;
  for (const std::string& name : c.arrays) {
    if (name == "input") continue;
    arrays.push_back(file.read(c.name + "/" + name));
    arrays.back().info.name = name;
  }
  return arrays;
}

/// The results of each input; a case that has results must have an input.
std::map<std::string, io::GoldenCase> results_by_case(const io::ArrayFile& file,
                                                      const std::vector<std::string>& inputs) {
  const std::set<std::string> known(inputs.begin(), inputs.end());
  std::map<std::string, io::GoldenCase> results;
  for (io::GoldenCase& c : io::golden_cases(file)) {
    if (!known.contains(c.name))
      throw io::FileError(file.file(), "case '" + c.name + "'", "an input of that name", "none");
    std::string name = c.name;
    results.emplace(std::move(name), std::move(c));
  }
  return results;
}

/// Of a file whose cases are instructions, products or layers, not inputs and what was made of them.
std::optional<std::vector<Verdict>> check_products(const Options& o, const io::ArrayFile& file) {
  const ManifestReader manifest(file);
  const Kernels& kernels = kernels_of(o.device);
  if (manifest.is("linear")) return check_linear(file, manifest.recipe(), manifest.seed(), kernels);
  if (manifest.is("gemm"))
    return check_gemm(file, manifest.producer(o.profile), manifest.accumulation(), kernels);
  if (manifest.is("mma")) return check_mma(file, manifest.instruction(), manifest.packs(), kernels);
  if (manifest.is("probes")) return check_probes(file, kernels);
  return std::nullopt;
}

std::vector<Verdict> check_file(const Options& o, const CLI::App& app) {
  const auto file = io::open_arrays(o.file);
  if (!profile_given(app) && file->contains("manifest"))
    if (auto verdicts = check_products(o, *file)) return *std::move(verdicts);
  const auto separate = o.inputs.empty() ? nullptr : io::open_arrays(o.inputs);
  const io::ArrayFile& inputs = separate ? *separate : *file;
  const std::vector<std::string> names = input_names(inputs);
  if (!separate && (names.empty() || !file->contains(names.front() + "/input")))
    throw UsageError(o.file + ": no CASE/input arrays: expected --inputs FILE");
  const Producer producer =
      profile_given(app) ? profile(o.profile) : ManifestReader(*file).producer(o.profile);
  const auto results = results_by_case(*file, names);
  const Kernels& kernels = kernels_of(o.device);
  const CompareMode mode = mode_named(o.compare);
  Progress progress("golden check");
  std::vector<Verdict> verdicts;
  for (const std::string& name : names) {
    progress.show(static_cast<std::int64_t>(verdicts.size()), static_cast<std::int64_t>(names.size()), name);
    const auto found = results.find(name);
    const auto given = found == results.end() ? std::vector<io::Array>() : results_of(*file, found->second);
    const Matrix input = io::golden_input(inputs, name);
    verdicts.push_back(check_case(name, input.view(), given, producer, kernels, mode));
  }
  return verdicts;
}

std::vector<Verdict> check_raw(const Options& o) {
  if (o.raw_input.empty()) throw UsageError("raw dumps need --input X, the matrix that was quantized");
  const io::MatrixFile input =
      io::open_matrix(o.raw_input, {o.raw_array, o.raw_tensor, dtype_named(o.input_dtype)});
  Producer producer = profile(o.profile);
  if (!o.dump.col_codes.empty() || !o.dump.col_scales.empty()) producer.columns = true;
  RawDump dump = o.dump;
  if (o.experts) dump.experts = experts_of(input.array);
  std::vector<Verdict> verdicts;
  for (; dump.expert < dump.experts; ++dump.expert)
    verdicts.push_back(check_dump(dump, expert_of(input.view, dump.experts, dump.expert), producer,
                                  kernels_of(o.device), mode_named(o.compare)));
  return verdicts;
}

/// The sums over all cases, by the names of the contract.
struct Totals {
  std::int64_t cases = 0, equal = 0, refused = 0, differing_bytes = 0, arrays = 0;
  InertDifferences inert;
  const Verdict* first = nullptr;
};

Totals total(const std::vector<Verdict>& verdicts) {
  Totals t;
  for (const Verdict& v : verdicts) {
    t.cases += !v.refused;
    t.refused += v.refused;
    t.equal += v.equal();
    t.differing_bytes += v.differing_bytes;
    t.arrays += v.arrays;
    t.inert.codes_under_zero_scale += v.inert.codes_under_zero_scale;
    t.inert.minus_zero += v.inert.minus_zero;
    if (!t.first && v.differing_bytes) t.first = &v;
  }
  return t;
}

std::string summary(const Totals& t, const std::string& compare) {
  std::string text = std::to_string(t.cases) + " cases, " + std::to_string(t.equal) + " equal, " +
                     std::to_string(t.refused) + " refused by the producer; " +
                     std::to_string(t.differing_bytes) + " differing bytes in " + std::to_string(t.arrays) +
                     " arrays\n";
  if (compare == "values")
    text += "inert and allowed: " + std::to_string(t.inert.codes_under_zero_scale) +
            " codes under a zero scale, " + std::to_string(t.inert.minus_zero) + " times -0 for +0\n";
  if (t.first) text += "first: " + t.first->text + "\n";
  return text + (t.first ? coloured(Colour::red, "differs") : coloured(Colour::green, "equal")) + "\n";
}

Outcome report(const Options& o, const std::vector<Verdict>& verdicts) {
  const Totals t = total(verdicts);
  if (t.cases == 0)
    throw UsageError((o.file.empty() ? o.raw_input : o.file) +
                     ": no case with results: nothing was compared");
  Outcome outcome{.exit_code = t.first ? 1 : 0};
  outcome.json = {{"cases", t.cases},    {"equal", t.equal},     {"differing_bytes", t.differing_bytes},
                  {"not_run", 0},        {"refused", t.refused}, {"arrays", t.arrays},
                  {"compare", o.compare}};
  if (o.compare == "values")
    outcome.json["inert"] = {{"codes_under_zero_scale", t.inert.codes_under_zero_scale},
                             {"minus_zero", t.inert.minus_zero}};
  outcome.json["first"] = t.first ? t.first->first : Json(nullptr);
  outcome.text = summary(t, o.compare);
  return outcome;
}

void refuse_what_would_be_ignored(const Options& o, const CLI::App& app) {
  if (o.dump.given() && (!o.file.empty() || !o.inputs.empty()))
    throw UsageError("either FILE or raw dumps: expected one of them");
  if (o.dump.given()) return;
  for (const char* option :
       {"--layout", "--mask", "--input", "--array", "--tensor", "--input-dtype", "--experts"})
    if (app.count(option) > 0)
      throw UsageError(std::string(option) + " is for raw dumps: expected --codes or --scales");
}

Outcome run(const Options& o, const CLI::App& app) {
  if (o.file.empty() && !o.dump.given())
    throw UsageError("nothing to check: expected FILE, or --codes and --scales");
  refuse_what_would_be_ignored(o, app);
  const std::vector<Verdict> verdicts = o.dump.given() ? check_raw(o) : check_file(o, app);
  Outcome outcome = report(o, verdicts);
  outcome.to_stdout = o.junit == "-";
  if (!o.junit.empty())
    io::write_text(o.junit, junit_xml("golden check", verdicts),
                   o.force ? io::Overwrite::yes : io::Overwrite::no);
  return outcome;
}

}  // namespace

Run declare_golden_check(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("FILE", o->file, ".npz with CASE/ARRAY arrays, or - for stdin");
  app.add_option("--inputs", o->inputs, ".npz of inputs, where FILE has none; uint16 is BF16");
  declare_profile(app, o->profile);
  app.add_option("--codes", o->dump.codes, "raw dump of packed codes, low nibble first, instead of FILE");
  app.add_option("--scales", o->dump.scales, "raw dump of scale bytes");
  app.add_option("--col-codes", o->dump.col_codes, "the same of the transpose");
  app.add_option("--col-scales", o->dump.col_scales, "the same of the transpose");
  app.add_option("--layout", o->dump.layout, "linear|128x4|8x4|4-token: of the dumped scales")
      ->capture_default_str();
  app.add_option("--mask", o->dump.mask,
                 "which padding of the dumped scales may hold anything: 'padding' for all, or a file of one "
                 "byte a scale byte");
  app.add_option("--input", o->raw_input, "the matrix that was quantized, for raw dumps");
  app.add_option("--array", o->raw_array, "which array of an .npz --input");
  app.add_option("--tensor", o->raw_tensor, "which tensor of a .safetensors --input");
  app.add_option("--input-dtype", o->input_dtype, "bf16: uint16 elements of --input are BF16 bits");
  app.add_flag("--experts", o->experts,
               "--input is a stack (experts, rows, columns), each expert's dump after the other's");
  app.add_option("--compare", o->compare,
                 "bytes|values: values allows codes under a zero scale, and -0 for +0")
      ->capture_default_str();
  app.add_option("--junit", o->junit, "write a JUnit report there");
  app.add_flag("--force", o->force, "replace an existing report");
  declare_device(app, o->device);
  return [o, &app] { return run(*o, app); };
}

}  // namespace nvfp4::cli
