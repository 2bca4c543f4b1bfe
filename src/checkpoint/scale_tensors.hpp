#pragma once
#include <optional>
#include <string>

#include "weight.hpp"

namespace nvfp4 {

/// An F32 tensor of that name with one number, or one for each expert, whatever dimensions of 1 it has.
bool holds_scales(const Checkpoint&, const std::string& name, std::int64_t experts);
SecondScale read_scales(const Checkpoint&, const std::string& name, ScaleUse);

/// One number for each expert, 1 where there is no scale.
io::Bytes scale_bytes(const std::optional<SecondScale>&, ScaleUse, std::int64_t experts);

}  // namespace nvfp4
