#include "number.hpp"

#include <cstdio>
#include <cstdlib>

#include "command.hpp"

namespace nvfp4::cli {

std::string bound_text(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.6g", value);
  if (std::strtod(text, nullptr) < value) std::snprintf(text, sizeof text, "%.6g", value * (1 + 6e-6));
  return text;
}

std::string thousands(std::int64_t n) {
  std::string text = std::to_string(n);
  for (std::ptrdiff_t i = static_cast<std::ptrdiff_t>(text.size()) - 3; i > (n < 0); i -= 3)
    text.insert(static_cast<std::size_t>(i), ",");
  return text;
}

std::optional<Dtype> dtype_named(const std::string& text) {
  if (text.empty()) return std::nullopt;
  if (text == "fp32" || text == "float32") return Dtype::fp32;
  if (text == "fp16" || text == "float16") return Dtype::fp16;
  if (text == "bf16" || text == "bfloat16") return Dtype::bf16;
  throw UsageError("dtype '" + text + "': expected float32, float16 or bf16");
}

float parse_float(const std::string& text, const std::string& option) {
  char* end = nullptr;
  const float value = std::strtof(text.c_str(), &end);
  if (text.empty() || *end) throw UsageError(option + " '" + text + "': expected a number");
  return value;
}

}  // namespace nvfp4::cli
