#include "number_text.hpp"

#include <charconv>
#include <cmath>
#include <cstdio>

namespace nvfp4 {

std::string shortest(float value) {
  if (std::isnan(value)) return "nan";
  char text[64];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string hex32(std::uint32_t bits) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08X", bits);
  return text;
}

std::string hex8(std::uint32_t bits) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%02X", bits);
  return text;
}

}  // namespace nvfp4
