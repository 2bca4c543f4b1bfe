#pragma once
#include <string_view>

namespace nvfp4 {

/// Whether the whole text is as the pattern says: * is any text, ? any character.
bool matches_glob(std::string_view text, std::string_view pattern);

}  // namespace nvfp4
