#include <nvfp4/state.hpp>

#include <algorithm>

#include <nvfp4/scheme.hpp>

namespace nvfp4 {

bool is_due(const GemmRecipe& g, const SchemeState& state, std::int64_t step) {
  if (find_scheme(g.scheme.name)->keeps.empty()) return false;
  const auto period = g.scheme.options.find("period");
  return state.empty() || (period != g.scheme.options.end() && step % std::stoll(period->second) == 0);
}

LayerState updated(const Recipe& recipe, LayerState state, std::int64_t step, MatrixView x, MatrixView w,
                   MatrixView dy, std::uint64_t seed, const Kernels& kernels) {
  validate(recipe);
  const auto due = [&](Gemm g) { return is_due(recipe[g], state[g], step); };
  if (std::ranges::none_of(all_gemms, due)) return state;
  const LayerState calibrated = linear(recipe, x, w, dy, seed, kernels).state;
  for (const Gemm g : all_gemms)
    if (due(g)) state[g] = calibrated[g];
  return state;
}

}  // namespace nvfp4
