#pragma once
#include "command.hpp"

namespace nvfp4::cli {

/// The published recipes: as text a Markdown table, a line for each product of each; as JSON what --recipe FILE.json reads.
Outcome recipe_table();

}  // namespace nvfp4::cli
