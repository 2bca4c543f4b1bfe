#pragma once
#include "facts.hpp"

namespace nvfp4 {

/// Over all NVFP4 weights together; none where there are none. `producer` is their convention's own dialect.
std::optional<DialectEvidence> dialect_evidence(std::span<const HeldWeight>, std::span<const WeightFacts>,
                                                const Dialect& producer);

}  // namespace nvfp4
