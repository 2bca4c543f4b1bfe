#include <nvfp4/model_recipe.hpp>

#include <nvfp4/glob.hpp>

namespace nvfp4 {
namespace {

constexpr PublishedModel models[] = {
    {"nvidia_12b", 62, 2, 8},
    {"nvidia_8b", 52, 0, 8},
    {"nvidia_1.2b", 20, 0, 4},
};

bool stays_in_high_precision(const ModelRecipe& m, const LayerPlace& layer) {
  if (layer.block < m.first_blocks || layer.block >= layer.blocks - m.last_blocks) return true;
  for (const std::string& glob : m.keep)
    if (matches_glob(layer.name, glob)) return true;
  return false;
}

}  // namespace

Recipe recipe_at(const ModelRecipe& m, const LayerPlace& layer, std::int64_t step) {
  if (stays_in_high_precision(m, layer)) return m.high_precision;
  if (m.switch_step < 0 || step < m.switch_step) return m.recipe;
  if (!m.switch_forward_only) return m.high_precision;
  Recipe switched = m.recipe;
  switched.fprop = m.high_precision.fprop;
  return switched;
}

std::span<const PublishedModel> published_models() { return models; }

const PublishedModel* find_published_model(std::string_view name) {
  for (const PublishedModel& m : models)
    if (m.name == name) return &m;
  return nullptr;
}

ModelRecipe model_recipe(const PublishedModel& m, std::int64_t steps, bool late_switch) {
  ModelRecipe r{.recipe = *find_recipe("nvidia"), .high_precision = *find_recipe("bf16")};
  r.first_blocks = m.first_blocks;
  r.last_blocks = m.last_blocks;
  r.keep = {"*embed*", "*lm_head*"};
  if (late_switch) r.switch_step = steps * 82 / 100;
  return r;
}

ModelRecipe post_qk_protection(Recipe recipe, Attention attention) {
  ModelRecipe m{.recipe = std::move(recipe), .high_precision = *find_recipe("bf16")};
  m.keep = {attention == Attention::softmax ? "*v_proj*" : "*o_proj*"};
  if (attention == Attention::gla) m.keep.push_back("*gk_proj*");
  return m;
}

}  // namespace nvfp4
