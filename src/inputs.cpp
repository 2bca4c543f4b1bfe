#include "inputs.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace nvfp4 {
namespace {

std::uint16_t to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if (std::isnan(x)) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

std::uint16_t to_fp16(float x) {
  const auto sign = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16 & 0x8000);
  const float a = std::fabs(x);
  if (std::isnan(x)) return sign | 0x7E00;
  if (a >= 65520) return sign | 0x7C00;  // half way from 65504 to 65536, a tie to even
  int exponent;
  std::frexp(a, &exponent);
  const int step = std::max(exponent, -13) - 11;  // exponent of the last bit kept
  const auto units = static_cast<int>(std::nearbyint(std::ldexp(a, -step)));
  const int code = units < 1024 ? units : ((step + 24) << 10) + units;
  return static_cast<std::uint16_t>(sign | code);
}

}  // namespace

void put(Matrix& x, std::int64_t at, float value) {
  if (x.dtype == Dtype::fp32)
    x.f32()[at] = value;
  else
    x.u16()[at] = x.dtype == Dtype::bf16 ? to_bf16(value) : to_fp16(value);
}

}  // namespace nvfp4
