#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nvfp4/recipe.hpp>

namespace nvfp4 {

/// A layer of a model: its name, and the block that it is in.
struct LayerPlace {
  std::string name;
  int block = 0, blocks = 1;
};

/// Which layers of a model are quantized, and until when: selective high precision and the late switch.
struct ModelRecipe {
  Recipe recipe{};
  Recipe high_precision{};
  int first_blocks = 0, last_blocks = 0;  ///< of the model, that stay in high precision
  std::vector<std::string> keep{};        ///< globs (* and ?) of layer names that do
  std::int64_t switch_step = -1;          ///< from this step on, all is high precision; -1: never
  bool switch_forward_only = false;       ///< then dgrad and wgrad stay as they are
  friend bool operator==(const ModelRecipe&, const ModelRecipe&) = default;
};

/// The recipe of a layer at a step.
Recipe recipe_at(const ModelRecipe&, const LayerPlace&, std::int64_t step);

/// A model that was trained so, and what of it stayed in BF16 besides embeddings and output head.
struct PublishedModel {
  std::string_view name;
  int blocks, first_blocks, last_blocks;
};

/// NVIDIA's, of "Pretraining Large Language Models with NVFP4" (arXiv 2509.25149): nvidia_12b, nvidia_8b, nvidia_1.2b.
std::span<const PublishedModel> published_models();
const PublishedModel* find_published_model(std::string_view name);

/// Recipe nvidia, but bf16 in those blocks, over a training of `steps`. With `late_switch` all is bf16 from 82 % of
/// them on: appendix D, where the 12B model went on so from 8.2T of its 10T tokens.
ModelRecipe model_recipe(const PublishedModel&, std::int64_t steps, bool late_switch);

enum class Attention : std::uint8_t {
  softmax,
  linear,
  gla,  ///< gated linear attention
};

/// Post-QK protection (CHON, arXiv 2602.02047): everything by this recipe, but for what comes after QK and is the most
/// sensitive there, kept in BF16: W_v of softmax attention, W_o of linear attention, of GLA gk_proj too. The globs are of
/// Hugging Face's names, and flash-linear-attention's: v_proj, o_proj, gk_proj; a qkv_proj, which holds W_v, is kept whole.
ModelRecipe post_qk_protection(Recipe, Attention);

}  // namespace nvfp4
