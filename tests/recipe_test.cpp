#include <doctest/doctest.h>

#include <string>

#include <nvfp4/io/error.hpp>
#include <nvfp4/io/recipe.hpp>
#include <nvfp4/scheme.hpp>

using namespace nvfp4;

/// Recipes as records and as JSON.
namespace {

/// What reading the text is refused with.
std::string refusal(const std::string& text) {
  try {
    io::parse_recipe(text, "r.json");
  } catch (const io::FileError& e) {
    return e.what();
  }
  return "";
}

/// A published recipe's text with one part of it replaced.
std::string with(const std::string& part, const std::string& replacement) {
  std::string text = io::to_json(*find_recipe("nvidia"));
  const std::size_t at = text.find(part);
  REQUIRE(at != std::string::npos);
  return text.replace(at, part.size(), replacement);
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("recipe: the published ones can be run, and are read back as they were written") {
  for (const Recipe& r : recipes()) {
    CAPTURE(r.name);
    CHECK_NOTHROW(validate(r));
    CHECK(io::parse_recipe(io::to_json(r), "r.json") == r);
    CHECK(find_recipe(r.name) == &r);
  }
  CHECK(find_recipe("nope") == nullptr);
}

TEST_CASE("recipe: what is left out has its default") {
  const Recipe r =
      io::parse_recipe(R"({"name": "mine", "fprop": {"a": {"dialect": "te"}, "b": {"dialect": "te"}},
      "dgrad": {}, "wgrad": {"a": null, "b": null}})",
                       "r.json");
  CHECK(r.fprop == find_recipe("nvfp4_plain")->fprop);
  CHECK(r.dgrad == find_recipe("bf16")->dgrad);
  CHECK(r.wgrad == find_recipe("bf16")->wgrad);
}

TEST_CASE("recipe: a scheme's options are values of the product, those left out by default") {
  const std::string text = io::to_json(*find_recipe("averis_fp4mean"));
  CHECK(has(text, R"("name": "averis")"));
  CHECK(has(text, R"("mean": "fp4")"));
  CHECK(has(text, R"("wgrad_terms": 4)"));
  CHECK_FALSE(has(io::to_json(*find_recipe("nvidia")), "scheme"));
  const Recipe r =
      io::parse_recipe(R"({"name": "mine", "fprop": {"a": {"dialect": "te"}, "b": {"dialect": "te"},
      "scheme": {"name": "averis", "wgrad_terms": 2}, "accumulate_dense": "exact"}, "dgrad": {}, "wgrad": {}})",
                       "r.json");
  CHECK(r.fprop.scheme == scheme_recipe("averis", {{"wgrad_terms", "2"}}));
  CHECK(r.fprop.scheme.options.at("mean") == "dense");
  CHECK(r.fprop.accumulate_dense == "exact");
  CHECK(io::parse_recipe(io::to_json(r), "r.json") == r);
}

TEST_CASE("recipe: faults are named with the file and the field") {
  CHECK(has(refusal("[]"), "r.json: recipe: expected an object"));
  CHECK(has(refusal("{}"), "field 'name'"));
  CHECK(has(refusal(with("\"block\": \"1x16\"", "\"block\": \"1x15\"")),
            "field 'fprop.a.block': expected '1x16'"));
  CHECK(has(refusal(with("\"rounding\": \"sr\"", "\"rounding\": \"up\"")), "field 'dgrad.a.rounding'"));
  CHECK(has(refusal(with("\"rht\": 16", "\"rht\": 12")), "wgrad: both operands have the same transform"));
  CHECK(has(refusal(with("\"source\"", "\"sauce\"")), "field 'fprop.a.sauce': expected no such field"));
  CHECK(has(refusal(with("\"te\"", "\"et\"")), "no dialect 'et'"));
  CHECK(has(refusal(with("\"operands\": \"bf16\"", "\"operands\": \"fp8\"")), "expected one of bf16, fp32"));
  CHECK(has(refusal(with("sm100_nvfp4", "sm100_fp3")), "no accumulation 'sm100_fp3'"));
  const auto of_scheme = [](const std::string& scheme) {
    return refusal(with("\"out_dtype\"", "\"scheme\": " + scheme + ", \"out_dtype\""));
  };
  CHECK(has(of_scheme("{}"), "field 'fprop.scheme.name'"));
  CHECK(has(of_scheme(R"({"name": "sheme"})"),
            "field 'fprop.scheme': expected a scheme and its options, found "
            "no scheme 'sheme'"));
  CHECK(has(of_scheme(R"({"name": "plain", "k": 1})"), "plain has no option 'k'"));
  CHECK(has(of_scheme(R"({"name": "averis", "meen": "fp4"})"), "averis has no option 'meen'"));
  CHECK(has(of_scheme(R"({"name": "averis", "wgrad_terms": 3})"),
            "averis's option wgrad_terms: expected one of 2, 4, found '3'"));
}

TEST_CASE("recipe: a model's, with a published recipe by name") {
  ModelRecipe m{.recipe = *find_recipe("nvidia"),
                .high_precision = *find_recipe("bf16"),
                .first_blocks = 2,
                .last_blocks = 8};
  m.keep = {"lm_head", "*.router"};
  m.switch_step = 8200;
  m.switch_forward_only = true;
  CHECK(io::parse_model_recipe(io::to_json(m), "m.json") == m);
  const ModelRecipe named = io::parse_model_recipe(R"({"recipe": "mxfp4"})", "m.json");
  CHECK(named == ModelRecipe{.recipe = *find_recipe("mxfp4"), .high_precision = *find_recipe("bf16")});
  CHECK_THROWS_AS(io::parse_model_recipe(R"({"recipe": "nope"})", "m.json"), io::FileError);
  CHECK_THROWS_AS(io::parse_model_recipe(R"({"recipe": "mxfp4", "keep": "x"})", "m.json"), io::FileError);
}
