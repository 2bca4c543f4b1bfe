#include "base64.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace nvfp4 {
namespace {

constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr auto values = [] {
  std::array<int, 256> table;
  table.fill(-1);
  for (std::size_t i = 0; i < digits.size(); ++i)
    table[static_cast<unsigned char>(digits[i])] = static_cast<int>(i);
  return table;
}();

}  // namespace

std::string base64(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::string_view three = bytes.substr(i, 3);
    std::uint32_t bits = 0;
    for (std::size_t j = 0; j < 3; ++j)
      bits = bits << 8 | (j < three.size() ? static_cast<unsigned char>(three[j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j) text += j <= three.size() ? digits[bits >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

std::optional<std::string> from_base64(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i + 4 <= text.size(); i += 4) {
    std::uint32_t bits = 0;
    for (const char c : text.substr(i, 4))
      bits = bits << 6 | static_cast<std::uint32_t>(std::max(0, values[static_cast<unsigned char>(c)]));
    const std::string_view four = text.substr(i, 4);
    const std::size_t digits_here = std::min(four.find('='), four.size());
    for (std::size_t j = 0; j + 1 < digits_here; ++j) bytes += static_cast<char>(bits >> (16 - 8 * j) & 255);
  }
  if (base64(bytes) != text) return std::nullopt;
  return bytes;
}

}  // namespace nvfp4
