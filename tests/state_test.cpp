#include <doctest/doctest.h>

#include <random>
#include <stdexcept>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "tests/layer.hpp"

using namespace nvfp4;
using layer::Layer;

/// What schemes keep, over a run.
namespace {

/// One that has other large channels at each step.
Layer at_step(std::int64_t step) {
  std::mt19937 random(static_cast<unsigned>(step));
  std::normal_distribution<float> normal;
  Layer layer{Matrix(24, 64), Matrix(32, 64), Matrix(24, 32)};
  for (Matrix* m : {&layer.x, &layer.w, &layer.dy})
    for (std::int64_t i = 0; i < m->rows * m->cols; ++i)
      m->f32()[i] = normal(random) * ((i % m->cols + step) % 5 == 0 ? 30.f : 1.f);
  return layer;
}

LayerState update(const Recipe& recipe, const LayerState& state, std::int64_t step) {
  const Layer in = at_step(step);
  return updated(recipe, state, step, in.x.view(), in.w.view(), in.dy.view(), 5, cpu_kernels());
}

LayerState calibrated(const Recipe& recipe, std::int64_t step) { return at_step(step).run(recipe).state; }

}  // namespace

TEST_CASE("state: a product is due without one, and at the multiples of its period") {
  const GemmRecipe& chon = find_recipe("chon")->fprop;
  const SchemeState state{{"hot_channels", {1}}};
  for (const std::int64_t step : {0, 256, 25600}) CHECK(is_due(chon, state, step));
  for (const std::int64_t step : {1, 255, 257}) CHECK_FALSE(is_due(chon, state, step));
  CHECK(is_due(chon, {}, 7));
  const GemmRecipe& arcquant = find_recipe("arcquant")->fprop;
  CHECK(is_due(arcquant, {}, 7));
  CHECK_FALSE(is_due(arcquant, {{"order", {0}}, {"residuals", {0}}}, 0));
  CHECK_FALSE(is_due(find_recipe("nvidia")->fprop, {}, 0));
}

TEST_CASE("state: a run keeps its hot channels between periods, each product's by its own") {
  Recipe recipe = *find_recipe("chon");
  recipe.fprop.scheme.options["period"] = "3";
  recipe.wgrad.scheme = scheme_recipe("chon", {{"period", "2"}});
  LayerState state, expected;
  for (std::int64_t step = 0; step < 8; ++step) {
    if (step % 3 == 0) expected.fprop = calibrated(recipe, step).fprop;
    if (step % 2 == 0) expected.wgrad = calibrated(recipe, step).wgrad;
    state = update(recipe, state, step);
    CHECK(state == expected);
    const Layer in = at_step(step);
    CHECK(linear(recipe, in.x.view(), in.w.view(), in.dy.view(), 5, cpu_kernels(), &state).state == state);
  }
  CHECK(calibrated(recipe, 0).fprop != calibrated(recipe, 3).fprop);
  CHECK(calibrated(recipe, 4).wgrad != calibrated(recipe, 6).wgrad);
  CHECK(state.dgrad.empty());
}

TEST_CASE("state: without a period it is calibrated once, and nothing where nothing is kept") {
  const Recipe& arcquant = *find_recipe("arcquant");
  const LayerState first = update(arcquant, {}, 1);
  CHECK(first == calibrated(arcquant, 1));
  CHECK(update(arcquant, first, 256) == first);
  CHECK(update(*find_recipe("nvidia"), {}, 0) == LayerState{});
  Recipe none = *find_recipe("nvidia");
  none.fprop.scheme.name = "none";
  CHECK_THROWS_WITH_AS(update(none, {}, 0), "fprop: no scheme 'none'", std::invalid_argument);
}
