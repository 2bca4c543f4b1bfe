#pragma once
#include <string>

#include <nvfp4/kernels.hpp>

#include "command.hpp"

namespace nvfp4::cli {

/// --device reference|cpu|gpu.
void declare_device(CLI::App&, std::string& device);

/// Throws UsageError for a device that this build or machine lacks.
const Kernels& kernels_of(const std::string& device);

}  // namespace nvfp4::cli
