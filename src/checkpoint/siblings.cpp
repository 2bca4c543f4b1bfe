#include "siblings.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "weight.hpp"

namespace nvfp4 {
namespace {

/// Those of llm-compressor, ModelOpt and auto-round, of diffusers and BERT, and GGUF's names.
const std::vector<std::vector<std::string_view>> sets{
    {"q_proj", "k_proj", "v_proj"},     {"gate_proj", "up_proj"}, {"w1", "w3"},
    {"q_a_proj", "kv_a_proj_with_mqa"}, {"to_q", "to_k", "to_v"}, {"query", "key", "value"},
    {"attn_q", "attn_k", "attn_v"},     {"ffn_gate", "ffn_up"},   {"ffn_gate_exps", "ffn_up_exps"},
};

}  // namespace

std::optional<std::string> sibling_key(const std::string& weight) {
  const std::string module = module_of(weight);
  const std::size_t dot = module.rfind('.');
  const std::string leaf = dot == std::string::npos ? module : module.substr(dot + 1);
  for (const auto& set : sets)
    if (std::find(set.begin(), set.end(), leaf) != set.end())
      return (dot == std::string::npos ? "" : module.substr(0, dot + 1)) + std::string(set.front());
  return std::nullopt;
}

}  // namespace nvfp4
