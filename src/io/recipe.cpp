#include <nvfp4/io/recipe.hpp>

#include <algorithm>
#include <initializer_list>
#include <stdexcept>

#include <nvfp4/io/error.hpp>
#include <nvfp4/scheme.hpp>

#include "fields.hpp"
#include "json.hpp"
#include "text.hpp"

namespace nvfp4::io {
namespace {

using Json = nlohmann::ordered_json;

const std::string place = "recipe";

Json json_of(const OperandRecipe& o) {
  if (o.dialect.empty()) return nullptr;
  Json json{{"dialect", o.dialect},
            {"block", block_name(o.block)},
            {"tensor_scale", name(o.tensor_scale)},
            {"rounding", o.stochastic ? "sr" : "rne"},
            {"rht", o.rht},
            {"rht_signs", name(o.signs)},
            {"source", name(o.source)}};
  if (o.four_over_six != FourOverSix{})
    json.update({{"e4m3_max", o.four_over_six.e4m3_max},
                 {"select", name(o.four_over_six.select)},
                 {"error_fast", o.four_over_six.error_fast}});
  return json;
}

/// Values that are digits are numbers in JSON.
Json json_of(const SchemeRecipe& s) {
  Json json{{"name", s.name}};
  for (const auto& [key, value] : s.options)
    json[key] = std::ranges::all_of(value, [](char c) { return '0' <= c && c <= '9'; })
                    ? Json(std::stoll(value))
                    : Json(value);
  return json;
}

Json json_of(const GemmRecipe& g) {
  Json json{
      {"a", json_of(g.a)}, {"b", json_of(g.b)}, {"accumulate", g.accumulate}, {"out_dtype", name(g.out)}};
  if (g.scheme != SchemeRecipe{}) json["scheme"] = json_of(g.scheme);
  if (g.accumulate_dense != GemmRecipe{}.accumulate_dense) json["accumulate_dense"] = g.accumulate_dense;
  return json;
}

Json json_of(const Recipe& r) {
  return {{"name", r.name},
          {"operands", name(r.operands)},
          {"fprop", json_of(r.fprop)},
          {"dgrad", json_of(r.dgrad)},
          {"wgrad", json_of(r.wgrad)}};
}

void expect_only(const Fields& fields, std::initializer_list<std::string_view> known) {
  for (const auto& item : fields.all().items())
    if (std::ranges::find(known, item.key()) == known.end())
      fields.refuse(item.key(), "no such field", "one");
}

template <class E>
void read(const Fields& fields, const std::string& key, std::initializer_list<E> values, E& into) {
  if (fields.has(key)) into = fields.one_of(key, values);
}

void read(const Fields& fields, const std::string& key, std::string& into) {
  if (fields.has(key)) into = fields.text(key);
}

void read(const Fields& fields, const std::string& key, std::int64_t low, std::int64_t high, int& into) {
  if (fields.has(key)) into = static_cast<int>(fields.integer(key, low, high));
}

OperandRecipe read_operand(const Fields& gemm, const std::string& key) {
  OperandRecipe o;
  if (!gemm.has(key) || gemm.at(key).is_null()) return o;
  const Fields fields = gemm.object(key);
  expect_only(fields, {"dialect", "block", "tensor_scale", "rounding", "rht", "rht_signs", "source",
                       "e4m3_max", "select", "error_fast"});
  o.dialect = fields.text("dialect");
  if (fields.has("block")) {
    const auto block = find_block(fields.text("block"));
    if (!block) fields.refuse("block", "'1x16', '16x16' or '1x32'", in_quotes(fields.text("block")));
    o.block = *block;
  }
  read(fields, "tensor_scale", {TensorScale::tensor, TensorScale::row}, o.tensor_scale);
  std::string rounding = "rne";
  read(fields, "rounding", rounding);
  if (rounding != "rne" && rounding != "sr") fields.refuse("rounding", "'rne' or 'sr'", in_quotes(rounding));
  o.stochastic = rounding == "sr";
  read(fields, "rht", 0, 128, o.rht);
  read(fields, "rht_signs", {Signs::te, Signs::none, Signs::seed}, o.signs);
  read(fields, "source", {Source::input, Source::forward}, o.source);
  read(fields, "e4m3_max", 256, 448, o.four_over_six.e4m3_max);
  read(fields, "select", {Select::mae, Select::mse}, o.four_over_six.select);
  if (fields.has("error_fast")) o.four_over_six.error_fast = fields.boolean("error_fast");
  return o;
}

SchemeRecipe read_scheme(const Fields& gemm) {
  const Fields fields = gemm.object("scheme");
  const std::string scheme = fields.text("name");
  Options options;
  for (const auto& item : fields.all().items())
    if (item.key() != "name")
      options[item.key()] = item.value().is_string() ? item.value().get<std::string>() : item.value().dump();
  try {
    return scheme_recipe(scheme, std::move(options));
  } catch (const std::invalid_argument& e) {
    gemm.refuse("scheme", "a scheme and its options", e.what());
  }
}

GemmRecipe read_gemm(const Fields& recipe, const std::string& key) {
  const Fields fields = recipe.object(key);
  expect_only(fields, {"a", "b", "accumulate", "out_dtype", "scheme", "accumulate_dense"});
  GemmRecipe g{read_operand(fields, "a"), read_operand(fields, "b")};
  g.accumulate = g.a.dialect.empty() ? "sm100_bf16" : "sm100_nvfp4";
  read(fields, "accumulate", g.accumulate);
  read(fields, "out_dtype", {Dtype::fp32, Dtype::bf16, Dtype::fp16}, g.out);
  if (fields.has("scheme")) g.scheme = read_scheme(fields);
  read(fields, "accumulate_dense", g.accumulate_dense);
  return g;
}

/// The recipe itself, or the name of a published one.
Recipe read_recipe(const Fields& fields) {
  expect_only(fields, {"name", "operands", "fprop", "dgrad", "wgrad"});
  Recipe r{.name = fields.text("name")};
  read(fields, "operands", {Dtype::bf16, Dtype::fp32}, r.operands);
  r.fprop = read_gemm(fields, "fprop");
  r.dgrad = read_gemm(fields, "dgrad");
  r.wgrad = read_gemm(fields, "wgrad");
  try {
    validate(r);
  } catch (const std::invalid_argument& e) {
    fields.refuse("name", "a recipe that can be run", e.what());
  }
  return r;
}

Recipe named_or_read(const Fields& model, const std::string& key) {
  if (!model.at(key).is_string()) return read_recipe(model.object(key));
  const Recipe* found = find_recipe(model.text(key));
  if (!found) model.refuse(key, "the name of a recipe", in_quotes(model.text(key)));
  return *found;
}

std::vector<std::string> read_globs(const Fields& fields) {
  std::vector<std::string> globs;
  if (!fields.has("keep")) return globs;
  if (!fields.at("keep").is_array())
    fields.refuse("keep", "an array of globs", fields.at("keep").type_name());
  for (const auto& glob : fields.at("keep")) {
    if (!glob.is_string()) fields.refuse("keep", "an array of globs", glob.type_name());
    globs.push_back(glob.get<std::string>());
  }
  return globs;
}

}  // namespace

std::string to_json(const Recipe& r) { return json_of(r).dump(2) + "\n"; }

std::string to_json(const ModelRecipe& m) {
  return Json{{"recipe", json_of(m.recipe)},
              {"high_precision", json_of(m.high_precision)},
              {"first_blocks", m.first_blocks},
              {"last_blocks", m.last_blocks},
              {"keep", m.keep},
              {"switch_step", m.switch_step},
              {"switch_forward_only", m.switch_forward_only}}
             .dump(2) +
         "\n";
}

Recipe parse_recipe(std::string_view text, const std::string& file) {
  const nlohmann::json document = parse_json(text, file, place);
  return read_recipe({document, "", file, place});
}

ModelRecipe parse_model_recipe(std::string_view text, const std::string& file) {
  constexpr std::int64_t many = std::int64_t{1} << 30;
  const nlohmann::json document = parse_json(text, file, place);
  const Fields fields(document, "", file, place);
  expect_only(fields, {"recipe", "high_precision", "first_blocks", "last_blocks", "keep", "switch_step",
                       "switch_forward_only"});
  ModelRecipe m{.recipe = named_or_read(fields, "recipe"), .high_precision = *find_recipe("bf16")};
  if (fields.has("high_precision")) m.high_precision = named_or_read(fields, "high_precision");
  read(fields, "first_blocks", 0, many, m.first_blocks);
  read(fields, "last_blocks", 0, many, m.last_blocks);
  m.keep = read_globs(fields);
  if (fields.has("switch_step")) m.switch_step = fields.integer("switch_step", -1, std::int64_t{1} << 60);
  if (fields.has("switch_forward_only")) m.switch_forward_only = fields.boolean("switch_forward_only");
  return m;
}

}  // namespace nvfp4::io
