#include "rounding_story.hpp"

#include <cmath>

#include <nvfp4/kernels.hpp>

#include "number_text.hpp"

namespace nvfp4 {
namespace {

float value_of(std::uint32_t code, Format format) {
  float value;
  cpu_kernels().decode({&code, 1}, format, {&value, 1});
  return value;
}

std::string binary(std::uint32_t value, int digits) {
  std::string text;
  for (int i = digits - 1; i >= 0; --i) text += value >> i & 1 ? '1' : '0';
  return text;
}

/// The code of the largest value that is not above `magnitude`; codes of one sign ascend with their values.
std::uint32_t code_below(float magnitude, Format format) {
  std::uint32_t code = 0;
  while (value_of(code + 1, format) <= magnitude && value_of(code + 1, format) <= info(format).max) {
    ++code;
    if (value_of(code, format) == info(format).max) break;
  }
  return code;
}

std::string number(double x) { return shortest(static_cast<float>(x)); }

}  // namespace

RoundingStory rounding_story(float value, Format format, std::uint32_t signed_code) {
  const float magnitude = std::fabs(value);
  const std::uint32_t code =
      info(format).has_sign ? signed_code & ((1u << (info(format).bits - 1)) - 1) : signed_code;
  if (std::isnan(magnitude)) return {.why = "NaN has no neighbours"};
  const auto largest = static_cast<float>(info(format).max);
  const std::uint32_t below = code_below(magnitude, format);
  const float low = value_of(below, format);
  if (magnitude > largest)
    return {low, low, false, "beyond the largest value, saturates to " + shortest(largest)};
  if (magnitude == low) return {low, low, false, "exact"};
  const float high = value_of(below + 1, format);
  // Doubles hold these differences exactly where they matter: at and near the midpoint.
  const double down = static_cast<double>(magnitude) - low, up = static_cast<double>(high) - magnitude;
  RoundingStory story{low, high, down == up, ""};
  const std::string direction = code == below ? "down to " + shortest(low) : "up to " + shortest(high);
  if (story.tie)
    story.why = "a tie: " + direction + ", whose code " + hex8(code) + " is even";
  else
    story.why = direction + ", the nearer: " + number(std::fmin(down, up)) + " away, the other " +
                number(std::fmax(down, up));
  return story;
}

std::string bit_fields(std::uint32_t code, Format format) {
  const FormatInfo& f = info(format);
  std::string text = f.has_sign ? binary(code >> (f.bits - 1), 1) + ' ' : "";
  return text + binary(code >> f.mantissa_bits, f.exponent_bits) + ' ' + binary(code, f.mantissa_bits);
}

}  // namespace nvfp4
