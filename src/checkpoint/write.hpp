#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include <nvfp4/checkpoint.hpp>

#include "plan.hpp"

namespace nvfp4 {

/// Writes the plan, made of `source`, as one file or, where the target's path has neither ending, as a folder of shards.
/// A folder is built beside its place, as PATH.partial, and takes it when whole; an interrupted run leaves that, and
/// `resume` goes on after its last whole shard. Throws io::FileError; std::invalid_argument for a path that the
/// convention's files do not end in.
void write_checkpoint(CheckpointPlan, const Checkpoint& source, std::string_view container,
                      const CheckpointTarget&, const CheckpointWatch& = {});

}  // namespace nvfp4
