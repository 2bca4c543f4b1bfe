#pragma once
#include <nvfp4/inspect.hpp>

#include "command.hpp"

namespace nvfp4::cli {

/// A tree by the names' dots. Layers that are alike stand on one line, unless `all`.
Outcome checkpoint_outcome(const CheckpointReport&, bool all);

}  // namespace nvfp4::cli
