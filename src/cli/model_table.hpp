#pragma once
#include <string>

#include <nvfp4/accumulation.hpp>

#include "command.hpp"

namespace nvfp4::cli {

/// "sm70_fp16, sm75_fp16, ..."
std::string model_names();

/// Throws UsageError for an unknown name, listing what there is.
const Accumulation& model_named(const std::string& name, const std::string& option);

/// Every model: what it takes, its evidence and how far that can be trusted.
Outcome model_list();

}  // namespace nvfp4::cli
