#include "recipe_argument.hpp"

#include <nvfp4/io.hpp>

#include "command.hpp"

namespace nvfp4::cli {

std::string recipe_names() {
  std::string names;
  for (const Recipe& r : recipes()) names += (names.empty() ? "" : ", ") + r.name;
  return names;
}

Recipe recipe_named(const std::string& name) {
  if (const Recipe* found = find_recipe(name)) return *found;
  if (!name.ends_with(".json"))
    throw UsageError("--recipe " + name + ": expected FILE.json or one of " + recipe_names());
  const io::Bytes bytes = io::read_bytes(name);
  return io::parse_recipe({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, name);
}

}  // namespace nvfp4::cli
