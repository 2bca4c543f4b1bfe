#pragma once
#include <cstdint>

#include <nvfp4/linear.hpp>

/// What schemes keep, from step to step of a training run:
///
///   LayerState state;
///   for (step = 0; ...; ++step) {
///     state = updated(recipe, std::move(state), step, x, w, dy, seed, kernels);
///     result = linear(recipe, x, w, dy, seed, kernels, &state);
///   }
namespace nvfp4 {

/// Whether a product's state is to be calibrated before this step: where there is none yet, and at the multiples of the
/// scheme's option `period`. Schemes without that option calibrate once; never those that keep nothing.
bool is_due(const GemmRecipe&, const SchemeState&, std::int64_t step);

/// The products that are due calibrated on these matrices, as linear() does; the others' state as it is. Throws
/// std::invalid_argument where linear() does.
LayerState updated(const Recipe&, LayerState, std::int64_t step, MatrixView x, MatrixView w, MatrixView dy,
                   std::uint64_t seed, const Kernels&);

}  // namespace nvfp4
