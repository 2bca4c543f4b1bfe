#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include <nvfp4/tensor.hpp>

#include "../number_text.hpp"

namespace nvfp4::cli {

/// Numbers as the program prints and reads them, beside those of messages.
std::string bound_text(double);       ///< six digits, never below the number
std::string thousands(std::int64_t);  ///< 1,234,567

/// "" gives none. Throws UsageError beyond fp32 (float32), bf16, fp16 (float16).
std::optional<Dtype> dtype_named(const std::string&);

/// Decimal, hexadecimal (0x1.8p3), inf or nan; every digit counts, rounded once to nearest even. Throws
/// UsageError.
float parse_float(const std::string& text, const std::string& option);

}  // namespace nvfp4::cli
