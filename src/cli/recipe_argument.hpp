#pragma once
#include <string>

#include <nvfp4/recipe.hpp>

namespace nvfp4::cli {

/// "bf16, nvfp4_plain, ..."
std::string recipe_names();

/// A published recipe by its name, or one from FILE.json. Throws UsageError and io::FileError.
Recipe recipe_named(const std::string&);

}  // namespace nvfp4::cli
