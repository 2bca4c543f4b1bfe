#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "tests/layer.hpp"

using namespace nvfp4;
using layer::squared_error;

/// Four Over Six, and any other dialect, inside a recipe.
namespace {

constexpr FourOverSix mse256{256, Select::mse, false};

layer::Layer layer_of(std::string_view kind, std::int64_t tokens, std::int64_t in, std::int64_t out) {
  LayerInputs made = make_layer_inputs(kind, tokens, in, out, 3);
  return {std::move(made.x), std::move(made.w), std::move(made.dy)};
}

std::string refusal(std::string_view recipe, std::string_view dialect, const FourOverSix& options = {}) {
  try {
    with_dialect(*find_recipe(recipe), dialect, options);
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE(
    "with_dialect: of nvfp4_plain it is four_over_six, of nvidia all but what is rounded stochastically") {
  Recipe plain = with_dialect(*find_recipe("nvfp4_plain"), "te_4over6", mse256);
  CHECK(plain.name == "nvfp4_plain+te_4over6");
  plain.name = "four_over_six";
  CHECK(plain == *find_recipe("four_over_six"));

  const Recipe& before = *find_recipe("nvidia");
  const Recipe r = with_dialect(before, "te_4over6", mse256);
  for (const Gemm g : all_gemms) {
    CHECK((r[g].a.dialect == "te") == (g != Gemm::fprop));
    CHECK(r[g].b.dialect == "te_4over6");
    CHECK(r[g].b.four_over_six == mse256);
    CHECK(r[g].b.block == before[g].b.block);
    CHECK(r[g].b.rht == before[g].b.rht);
  }
  CHECK(r.dgrad.a == before.dgrad.a);
  CHECK(r.wgrad.a == before.wgrad.a);
  const Recipe fast = with_dialect(before, "te_fast_math");
  for (const Gemm g : all_gemms)
    for (const OperandRecipe* o : {&fast[g].a, &fast[g].b}) CHECK(o->dialect == "te_fast_math");
}

TEST_CASE("with_dialect: bytes are the reference's on every layer") {
  const layer::Layer in = layer_of("hot_channels", 37, 20, 12);
  for (const char* name : {"averis", "averis_rht", "arcquant", "nvidia"})
    layer::check_every_layer(in, with_dialect(*find_recipe(name), "te_4over6", mse256));
}

TEST_CASE("with_dialect: every recipe that takes them by every dialect that chooses a scale" *
          doctest::test_suite("sweep")) {
  const layer::Layer in = layer_of("hot_channels", 37, 20, 12);
  int run = 0;
  for (const Recipe& recipe : recipes())
    for (const char* dialect : {"te_4over6", "te_ref_4over6", "fouroversix_mse", "fouroversix_absmax"})
      if (refusal(recipe.name, dialect).empty()) {
        layer::check_every_layer(in, with_dialect(recipe, dialect));
        ++run;
      }
  CHECK(run >= 40);
}

TEST_CASE("with_dialect: fprop errs less by Four Over Six in every recipe that is made for the data") {
  for (const auto& on : {std::pair{"nvfp4_plain", "gaussian"},
                         {"nvidia", "gaussian"},
                         {"averis", "mean_shifted"},
                         {"arcquant", "hot_channels"}}) {
    CAPTURE(on.first);
    const layer::Layer in = layer_of(on.second, 96, 128, 64);
    const Recipe& recipe = *find_recipe(on.first);
    const Matrix exact = in.run(*find_recipe("bf16")).fprop.out;
    CHECK(squared_error(in.run(with_dialect(recipe, "te_4over6", mse256)).fprop.out, exact) <
          squared_error(in.run(recipe).fprop.out, exact));
  }
}

TEST_CASE("with_dialect: what cannot be is refused, naming product and operand") {
  CHECK(refusal("nvidia", "te_5over6") == "no dialect 'te_5over6'");
  CHECK(refusal("bf16", "te_fast_math") ==
        "recipe bf16 has no operand by te, which te_fast_math could take the place of");
  CHECK(refusal("mxfp4", "te_4over6") ==
        "recipe mxfp4 has no operand by te that is rounded to nearest, which te_4over6 could take the place "
        "of");
  CHECK(
      refusal("averis_fp4mean", "te_4over6").starts_with("recipe averis_fp4mean has no operand by te that"));
  CHECK(refusal("nvidia", "mxfp4_ceil") == "fprop: operand a: block shape of mxfp4_ceil must be 1x32");
  CHECK(refusal("nvidia", "te_4over6", {.select = Select::absmax}) ==
        "fprop: operand a: te_4over6 selects by mae or mse");
  CHECK(refusal("nvidia", "vllm", mse256) == "fprop: operand a: vllm takes no four-over-six options");
  CHECK(refusal("nvidia", "flashinfer_per_token") ==
        "fprop: operand a: flashinfer_per_token has a scale for each row: tensor scale row");
  Recipe sr = with_dialect(*find_recipe("nvidia"), "te_4over6");
  sr.wgrad.a.dialect = "te_4over6";
  CHECK_THROWS_WITH_AS(validate(sr), "wgrad: operand a: te_4over6 has no stochastic rounding",
                       std::invalid_argument);
}
