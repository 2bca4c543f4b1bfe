#pragma once
#include <optional>
#include <string>

namespace nvfp4 {

/// Which matrices an inference engine runs as one, under one second-level scale: q, k and v; gate and up. Equal keys are
/// siblings; none where the weight's module has no siblings by its name.
std::optional<std::string> sibling_key(const std::string& weight);

}  // namespace nvfp4
