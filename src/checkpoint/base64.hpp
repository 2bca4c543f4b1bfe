#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace nvfp4 {

/// RFC 4648, section 4, with padding.
std::string base64(std::string_view bytes);
/// None for anything that base64() does not write.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace nvfp4
