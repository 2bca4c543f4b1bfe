#include "profile.hpp"

#include <functional>

#include <CLI/App.hpp>

#include "golden_file.hpp"

namespace nvfp4::cli {
namespace {

constexpr const char* profile_options[] = {
    "--dialect", "--producer",   "--block", "--columns",   "--tensor-amax", "--tensor-scale", "--e4m3-max",
    "--select",  "--error-fast", "--rht",   "--rht-signs", "--rounding",    "--random-map",   "--sr-rule"};

template <class List, class NameOf>
std::string join(const List& list, NameOf name_of) {
  std::string joined;
  for (const auto& entry : list)
    joined += (joined.empty() ? "" : ", ") + std::string(std::invoke(name_of, entry));
  return joined;
}

BlockShape block_named(const std::string& name) {
  if (const auto block = find_block(name)) return *block;
  throw UsageError("--block " + name + ": expected 1x16, 16x16, or 1x32 for the MX dialects");
}

TensorScale tensor_scale_named(const std::string& name) {
  if (name == "tensor") return TensorScale::tensor;
  if (name == "row") return TensorScale::row;
  throw UsageError("--tensor-scale " + name + ": expected tensor or row");
}

Select select_named(const std::string& name) {
  for (const Select select : {Select::mae, Select::mse, Select::absmax})
    if (nvfp4::name(select) == name) return select;
  throw UsageError("--select " + name + ": expected mae, mse or absmax");
}

Signs signs_named(const std::string& name) {
  for (const Signs signs : {Signs::te, Signs::none, Signs::seed})
    if (nvfp4::name(signs) == name) return signs;
  throw UsageError("--rht-signs " + name + ": expected te, none or seed");
}

ByteMap map_named(const std::string& name) {
  for (const ByteMap map : {ByteMap::hw, ByteMap::te})
    if (nvfp4::name(map) == name) return map;
  throw UsageError("--random-map " + name + ": expected hw or te");
}

/// Each map's own rounder, unless one is asked for.
SrRule rule_named(const std::string& name, ByteMap map) {
  if (name.empty()) return map == ByteMap::hw ? SrRule::carry : SrRule::te_software;
  for (const SrRule rule : {SrRule::carry, SrRule::te_software})
    if (nvfp4::name(rule) == name) return rule;
  throw UsageError("--sr-rule " + name + ": expected carry or te_software");
}

std::optional<Stochastic> stochastic_of(const ProfileOptions& o) {
  if (o.rounding != "rne" && o.rounding != "sr")
    throw UsageError("--rounding " + o.rounding + ": expected rne or sr");
  const ByteMap map = map_named(o.random_map);
  const SrRule rule = rule_named(o.sr_rule, map);
  if (o.rounding == "rne") return std::nullopt;
  return Stochastic{.rule = rule, .map = map, .random = {.seed = o.seed}};
}

void validate_options(const QuantizeSpec& spec) try {
  validate(spec);
} catch (const std::invalid_argument& error) {
  throw UsageError(error.what());
}

/// Of a matrix of any size: what this one refuses is said when it is there.
void validate_transform(const Producer& p) try {
  if (p.rht) validate(Hadamard{.signs = p.signs, .size = p.rht}, 0, 0);
} catch (const std::invalid_argument& error) {
  throw UsageError("--rht " + std::to_string(p.rht) + ": " + error.what());
}

}  // namespace

FourOverSix FourOverSixOptions::parsed() const { return {e4m3_max, select_named(select), error_fast}; }

std::vector<CLI::Option*> declare_four_over_six(CLI::App& app, FourOverSixOptions& o) {
  return {app.add_option("--e4m3-max", o.e4m3_max, "448|256: of the 4over6 dialects"),
          app.add_option("--select", o.select, "mae|mse: the error by which the 4over6 dialects choose"),
          app.add_flag("--error-fast", o.error_fast, "the 4over6 dialects' fast error arithmetic")};
}

void declare_profile(CLI::App& app, ProfileOptions& o) {
  CLI::Option* producer = app.add_option(
      "--producer", o.producer, "a producer's dialect and options: " + join(producers(), &Producer::name));
  const auto own = [&](CLI::Option* option) { option->excludes(producer)->capture_default_str(); };
  own(app.add_option(
      "--dialect", o.dialect,
      "order of operations: " + join(all_dialects(), [](const Dialect* d) { return d->name; })));
  own(app.add_option("--block", o.block,
                     "1x16|16x16: rows and columns that share a block scale; 1x32 is the MX dialects'"));
  own(app.add_option("--tensor-scale", o.tensor_scale, "tensor|row: what shares a second-level scale"));
  own(app.add_option("--tensor-amax", o.amax, "replaces the input's own tensor amax"));
  own(app.add_flag("--columns", o.columns, "quantize the transpose too"));
  own(app.add_option("--rounding", o.rounding,
                     "rne|sr: of the elements; sr is stochastic, in the dialects whose producers have it"));
  own(app.add_option("--random-map", o.random_map,
                     "hw|te: which byte of a random word rounds which of its four elements"));
  own(app.add_option(
      "--sr-rule", o.sr_rule,
      "carry|te_software: the hardware's rounding or Transformer Engine's, else the map's own"));
  own(app.add_option(
      "--rht", o.rht,
      "0|2|4|8|16|32|64|128: size of a Hadamard transform along the rows first; with --columns, of the "
      "columns alone"));
  own(app.add_option("--rht-signs", o.rht_signs, "te|none|seed: what multiplies the rows before it"));
  app.add_option("--seed", o.seed, "of all that is random")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  for (CLI::Option* option : declare_four_over_six(app, o)) own(option);
}

bool profile_given(const CLI::App& app) {
  for (const char* option : profile_options)
    if (app.count(option) > 0) return true;
  return false;
}

const Producer& producer_named(const std::string& name) {
  if (const Producer* producer = find_producer(name)) return *producer;
  throw UsageError("unknown producer '" + name + "': expected one of " + join(producers(), &Producer::name));
}

const Dialect& dialect_named(const std::string& name) {
  if (const Dialect* dialect = find_dialect(name)) return *dialect;
  throw UsageError("unknown dialect '" + name + "': expected one of " +
                   join(all_dialects(), [](const Dialect* d) { return d->name; }));
}

Producer profile(const ProfileOptions& o) {
  if (!o.producer.empty()) return producer_named(o.producer);
  QuantizeSpec spec = default_spec(dialect_named(o.dialect));
  if (!o.block.empty()) spec.block = block_named(o.block);
  if (!o.tensor_scale.empty()) spec.tensor_scale = tensor_scale_named(o.tensor_scale);
  spec.amax = o.amax;
  spec.four_over_six = o.parsed();
  spec.stochastic = stochastic_of(o);
  validate_options(spec);
  Producer made{.name = "", .spec = spec, .columns = o.columns};
  made.rht = o.rht;
  made.signs = signs_named(o.rht_signs);
  made.seed = made.signs == Signs::seed ? o.seed : 0;
  validate_transform(made);
  return made;
}

Json option_json(const QuantizeSpec& spec) {
  const FourOverSix& o = spec.four_over_six;
  if (!spec.dialect->four_over_six) return Json::object();
  return {{"e4m3_max", o.e4m3_max}, {"select", name(o.select)}, {"error_fast", o.error_fast}};
}

std::int64_t experts_of(const io::Array& array) {
  if (array.info.shape.size() != 3)
    array.refuse("shape (experts, rows, columns) for --experts", shape_text(array.info.shape));
  return array.info.shape[0];
}

Json rounding_json(const QuantizeSpec& spec) {
  if (!spec.stochastic) return Json::object();
  const Stochastic& s = *spec.stochastic;
  Json json{{"rounding", "sr"}, {"random_map", name(s.map)}, {"sr_rule", name(s.rule)}};
  if (s.from_caller)
    json["random_words"] = true;
  else
    json["seed"] = s.random.seed;
  return json;
}

Json describe_profile(const Producer& producer) {
  Json json;
  if (!producer.name.empty()) json["producer"] = producer.name;
  json["dialect"] = producer.spec.dialect->name;
  json["block"] = block_name(producer.spec.block);
  json["tensor_scale"] = name(producer.spec.tensor_scale);
  if (producer.spec.amax) json["tensor_amax"] = *producer.spec.amax;
  json.update(option_json(producer.spec));
  json.update(rounding_json(producer.spec));
  if (producer.rht && producer.name.empty())
    json.update({{"rht", producer.rht}, {"rht_signs", name(producer.signs)}});
  if (producer.rht && producer.signs == Signs::seed) json["seed"] = producer.seed;
  return json;
}

}  // namespace nvfp4::cli
