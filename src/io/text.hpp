#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace nvfp4::io {

/// Bytes of the character at the front, 0 where it is not UTF-8 (RFC 3629: no surrogates, no overlong).
std::size_t utf8_length(std::string_view text);
bool is_utf8(std::string_view text);

/// One printable line of bounded length: the rest as \xNN, beyond 200 bytes "...".
std::string printable(std::string_view text);

/// 'printable'
std::string in_quotes(std::string_view text);

/// "(3, 4)"
template <class Range>
std::string tuple_text(const Range& values) {
  std::string text;
  for (const auto& v : values) text += (text.empty() ? "" : ", ") + std::to_string(v);
  return "(" + text + (std::size(values) == 1 ? ",)" : ")");
}

}  // namespace nvfp4::io
