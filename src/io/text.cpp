#include "text.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>

namespace nvfp4::io {
namespace {

struct Lead {
  std::uint8_t first, last;  ///< range of the leading byte
  std::uint8_t low, high;    ///< range of the second byte
  std::size_t length;
};

/// RFC 3629, section 4.
constexpr Lead leads[] = {{0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3},
                          {0xE1, 0xEC, 0x80, 0xBF, 3}, {0xED, 0xED, 0x80, 0x9F, 3},
                          {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4},
                          {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4}};

std::uint8_t at(std::string_view text, std::size_t i) { return static_cast<std::uint8_t>(text[i]); }

bool is_control(std::string_view character) {
  const std::uint8_t c = at(character, 0);
  return character.size() == 1 ? c < 0x20 || c == 0x7F : c == 0xC2 && at(character, 1) < 0xA0;
}

}  // namespace

std::size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const std::uint8_t c = at(text, 0);
  if (c < 0x80) return 1;
  const auto lead = std::ranges::find_if(leads, [c](const Lead& l) { return l.first <= c && c <= l.last; });
  if (lead == std::end(leads) || text.size() < lead->length) return 0;
  if (at(text, 1) < lead->low || at(text, 1) > lead->high) return 0;
  for (std::size_t i = 2; i < lead->length; ++i)
    if ((at(text, i) & 0xC0) != 0x80) return 0;
  return lead->length;
}

bool is_utf8(std::string_view text) {
  while (const std::size_t n = utf8_length(text)) text.remove_prefix(n);
  return text.empty();
}

std::string printable(std::string_view text) {
  constexpr std::size_t limit = 200;
  std::string out;
  while (!text.empty() && out.size() < limit) {
    const std::size_t n = utf8_length(text);
    const std::string_view character = text.substr(0, std::max<std::size_t>(n, 1));
    if (n && !is_control(character)) {
      out += character;
    } else {
      for (const char c : character) {
        char hex[5];
        std::snprintf(hex, sizeof hex, "\\x%02X", static_cast<unsigned>(static_cast<std::uint8_t>(c)));
        out += hex;
      }
    }
    text.remove_prefix(character.size());
  }
  return text.empty() ? out : out + "...";
}

std::string in_quotes(std::string_view text) { return "'" + printable(text) + "'"; }

}  // namespace nvfp4::io
