#include "manifest.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include <nvfp4/io/error.hpp>

#include "fields.hpp"
#include "json.hpp"
#include "text.hpp"

namespace nvfp4::io {
namespace {

using nlohmann::json;

constexpr std::int64_t max_dimension = std::int64_t{1} << 48;

json to_json(const Option& option) {
  return std::visit([](const auto& value) { return json(value); }, option);
}

/// JSON has no infinity, and an amax may be one.
json amax_json(float amax) { return std::isinf(amax) ? json("inf") : json(amax); }

std::string_view scale_name(const Dialect& d) { return d.scale == Format::e8m0 ? "e8m0" : "e4m3"; }

json options_json(const Manifest& m) {
  json options = json::object();
  for (const auto& [key, value] : m.options) options[key] = to_json(value);
  options["tensor_scale"] = name(m.spec.tensor_scale);
  options["dtype"] = nvfp4::name(m.dtype);
  if (m.spec.amax) options["tensor_amax"] = amax_json(*m.spec.amax);
  if (m.experts) options["experts"] = m.experts;
  if (m.spec.dialect->four_over_six) {
    const FourOverSix& o = m.spec.four_over_six;
    options["e4m3_max"] = o.e4m3_max;
    options["select"] = nvfp4::name(o.select);
    options["error_fast"] = o.error_fast;
  }
  if (m.spec.stochastic) {
    const Stochastic& s = *m.spec.stochastic;
    options["rounding"] = "sr";
    options["sr_rule"] = nvfp4::name(s.rule);
    options["random_map"] = nvfp4::name(s.map);
    options["random"] = s.from_caller ? "caller's words" : "philox";
    options["stream"] = s.random.stream;
    options["rounds"] = s.random.rounds;
  }
  return options;
}

json shape_json(const Manifest& m) {
  return m.experts ? json{m.experts, m.rows, m.cols} : json{m.rows, m.cols};
}

const Dialect& read_dialect(const Fields& manifest) {
  const std::string name = manifest.text("dialect");
  const Dialect* dialect = find_dialect(name);
  if (!dialect) manifest.refuse("dialect", "a dialect of this version", in_quotes(name));
  manifest.expect("dialect_version", dialect->version);
  manifest.expect("global_is", nvfp4::name(dialect->global_is));
  manifest.expect("scale_format", scale_name(*dialect));
  return *dialect;
}

BlockShape read_block(const Fields& manifest) {
  const std::string name = manifest.text("block");
  const auto block = find_block(name);
  if (!block) manifest.refuse("block", "'1x16', '16x16' or '1x32'", in_quotes(name));
  manifest.integer("block_cols", block->cols, block->cols);
  return *block;
}

float read_amax(const Fields& options) {
  const json& value = options.at("tensor_amax");
  if (value == "inf") return std::numeric_limits<float>::infinity();
  const double amax = value.is_number() ? value.get<double>() : -1;
  if (!(amax >= 0) || amax > std::numeric_limits<float>::max() || static_cast<float>(amax) != amax)
    options.refuse("tensor_amax", "an FP32 value of 0 or more", value.dump());
  return static_cast<float>(amax);
}

TensorScale read_tensor_scale(const Fields& options) {
  const std::string text = options.text("tensor_scale");
  for (const TensorScale t : {TensorScale::tensor, TensorScale::row})
    if (text == name(t)) return t;
  options.refuse("tensor_scale", "'tensor' or 'row'", in_quotes(text));
}

Option read_option(const Fields& options, const std::string& key) {
  const json& value = options.at(key);
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_integer())
    return options.integer(key, std::numeric_limits<std::int64_t>::min(),
                           std::numeric_limits<std::int64_t>::max());
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  options.refuse(key, "a boolean, number or string", value.type_name());
}

Dtype read_dtype(const Fields& options) {
  const std::string text = options.text("dtype");
  for (const Dtype t : {Dtype::fp32, Dtype::bf16, Dtype::fp16})
    if (text == nvfp4::name(t)) return t;
  options.refuse("dtype", "'fp32', 'bf16' or 'fp16'", in_quotes(text));
}

FourOverSix read_four_over_six(const Fields& options) {
  FourOverSix o;
  o.e4m3_max = static_cast<int>(options.integer("e4m3_max", 256, 448));
  const std::string select = options.text("select");
  if (select != "mae" && select != "mse") options.refuse("select", "'mae' or 'mse'", in_quotes(select));
  o.select = select == "mae" ? Select::mae : Select::mse;
  o.error_fast = options.boolean("error_fast");
  return o;
}

Stochastic read_stochastic(const Fields& options) {
  Stochastic s;
  options.expect("rounding", "sr");
  s.rule = options.one_of("sr_rule", {SrRule::carry, SrRule::te_software});
  s.map = options.one_of("random_map", {ByteMap::hw, ByteMap::te});
  s.from_caller = options.text("random") != "philox";
  s.random.stream =
      static_cast<std::uint64_t>(options.integer("stream", 0, std::numeric_limits<std::int64_t>::max()));
  s.random.rounds = static_cast<int>(options.integer("rounds", 7, 10));
  return s;
}

/// The options that the spec holds; the rest are the caller's.
constexpr std::string_view spec_options[] = {
    "tensor_scale", "tensor_amax", "dtype",      "experts", "e4m3_max", "select", "error_fast",
    "rounding",     "sr_rule",     "random_map", "random",  "stream",   "rounds"};

void read_options(const Fields& options, Manifest& manifest) {
  manifest.spec.tensor_scale = read_tensor_scale(options);
  manifest.dtype = read_dtype(options);
  if (options.has("tensor_amax")) manifest.spec.amax = read_amax(options);
  if (options.has("experts")) manifest.experts = options.integer("experts", 1, max_dimension);
  if (manifest.spec.dialect->four_over_six) manifest.spec.four_over_six = read_four_over_six(options);
  if (options.has("rounding")) manifest.spec.stochastic = read_stochastic(options);
  for (const auto& item : options.all().items())
    if (std::ranges::find(spec_options, item.key()) == std::end(spec_options))
      manifest.options[item.key()] = read_option(options, item.key());
}

Provenance read_provenance(const Fields& provenance) {
  Provenance p;
  p.library_version = provenance.text("library_version");
  const json& seed = provenance.at("seed");
  if (!seed.is_number_unsigned()) provenance.refuse("seed", "an integer from 0 to 2^64 - 1", seed.dump());
  p.seed = seed.get<std::uint64_t>();
  if (provenance.has("input_sha256")) p.input_sha256 = provenance.text("input_sha256");
  return p;
}

void read_shape(const Fields& fields, Manifest& manifest) {
  const json& shape = fields.at("shape");
  const bool stack = manifest.experts > 0;
  if (!shape.is_array() || shape.size() != (stack ? 3 : 2))
    fields.refuse("shape", stack ? "[experts, rows, columns]" : "[rows, columns]", printable(shape.dump()));
  if (stack) fields.integer(shape[0], "shape", manifest.experts, manifest.experts);
  manifest.rows = fields.integer(shape[shape.size() - 2], "shape", 1, max_dimension);
  manifest.cols = fields.integer(shape[shape.size() - 1], "shape", 1, max_dimension);
}

ScaleLayout read_layout(const Fields& fields) {
  const std::string text = fields.text("layout");
  const auto layout = find_scale_layout(text);
  if (!layout) fields.refuse("layout", "'linear', '128x4', '8x4' or '4-token'", in_quotes(text));
  return *layout;
}

}  // namespace

std::string to_json(const Manifest& m) {
  const Dialect& dialect = *m.spec.dialect;
  json manifest = {
      {"dialect", dialect.name},
      {"dialect_version", dialect.version},
      {"options", options_json(m)},
      {"global_is", nvfp4::name(dialect.global_is)},
      {"scale_format", scale_name(dialect)},
      {"block", block_name(m.spec.block)},
      {"block_cols", m.spec.block.cols},
      {"shape", shape_json(m)},
      {"layout", nvfp4::name(m.layout)},
      {"provenance", {{"library_version", m.provenance.library_version}, {"seed", m.provenance.seed}}},
  };
  if (dialect.outer_cols) manifest["global_block_cols"] = dialect.outer_cols;
  if (dialect.global_is == GlobalIs::amax) manifest["global_divisor"] = global_divisor(m.spec);
  if (!m.provenance.input_sha256.empty()) manifest["provenance"]["input_sha256"] = m.provenance.input_sha256;
  return manifest.dump();
}

Manifest read_manifest(const ArrayFile& file, const std::string& name) {
  const Array array = file.read(name);
  const auto bytes = array.u8(std::array{static_cast<std::int64_t>(array.bytes.size())});
  return parse_manifest({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, file.file(), "manifest");
}

Manifest parse_manifest(std::string_view text, const std::string& file, const std::string& place) {
  const json document = parse_json(text, file, place);
  const Fields fields(document, "", file, place);
  Manifest manifest;
  manifest.spec.dialect = &read_dialect(fields);
  manifest.spec.block = read_block(fields);
  if (const int outer = manifest.spec.dialect->outer_cols)
    fields.integer("global_block_cols", outer, outer);
  else if (fields.has("global_block_cols"))
    fields.refuse("global_block_cols", "none, for one-level or tensor-wide scales", "it");
  manifest.layout = read_layout(fields);
  read_options(fields.object("options"), manifest);
  read_shape(fields, manifest);
  if (manifest.spec.dialect->global_is == GlobalIs::amax)
    fields.integer("global_divisor", global_divisor(manifest.spec), global_divisor(manifest.spec));
  manifest.provenance = read_provenance(fields.object("provenance"));
  if (manifest.spec.stochastic) manifest.spec.stochastic->random.seed = manifest.provenance.seed;
  try {
    validate(manifest.spec);
  } catch (const std::invalid_argument& e) {
    throw FileError(file, place, "options that go together", e.what());
  }
  return manifest;
}

}  // namespace nvfp4::io
