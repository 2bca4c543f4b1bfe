#pragma once
#include <string>
#include <string_view>

#include <nvfp4/model_recipe.hpp>

namespace nvfp4::io {

/// All fields, in a fixed order and indented: what parse_recipe() reads back to an equal record.
std::string to_json(const Recipe&);
std::string to_json(const ModelRecipe&);

/// Fields that are absent keep their defaults; a model recipe may name a recipe instead of spelling it. Throws FileError
/// naming `file` and the field, also for a recipe that validate() refuses and for unknown fields.
Recipe parse_recipe(std::string_view json, const std::string& file);
ModelRecipe parse_model_recipe(std::string_view json, const std::string& file);

}  // namespace nvfp4::io
