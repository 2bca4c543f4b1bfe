#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <random>

#include <nvfp4/random.hpp>
#include <nvfp4/tensor.hpp>

/// Matrices by the exponents that their numbers have.
namespace scattered {

using nvfp4::Dtype;
using nvfp4::Matrix;

struct Numbers {
  std::uint32_t least, exponents;   ///< fields of the exponent: from `least` on
  std::uint32_t special_every = 0;  ///< one in so many is Inf or NaN, or 0 or -0
  bool zeros_alone = false;         ///< none of these is Inf or NaN
};

/// Bits that differ from element to element.
inline Matrix matrix(std::int64_t rows, std::int64_t cols, Dtype dtype, const Numbers& n) {
  Matrix x(rows, cols, dtype);
  const int mantissa = dtype == Dtype::fp32 ? 23 : dtype == Dtype::bf16 ? 7 : 10;
  const std::uint32_t infinite = dtype == Dtype::fp16 ? 31 : 255, sign_at = dtype == Dtype::fp32 ? 31 : 15;
  for (std::int64_t i = 0; i < rows * cols; ++i) {
    const auto w = nvfp4::philox4x32({static_cast<std::uint32_t>(i), 0, 0, 0}, {5, 7});
    std::uint32_t magnitude = (n.least + w[0] % n.exponents) << mantissa | w[1] >> (32 - mantissa);
    if (n.special_every && w[2] % n.special_every == 0)
      magnitude = !n.zeros_alone && w[3] % 3 ? infinite << mantissa | (w[3] % 3 - 1) : 0;
    const std::uint32_t bits = magnitude | (w[3] >> 31) << sign_at;
    if (dtype == Dtype::fp32)
      x.f32()[i] = std::bit_cast<float>(bits);
    else
      x.u16()[i] = static_cast<std::uint16_t>(bits);
  }
  return x;
}

/// Each 16 numbers in a row in a binade of their own: one of so many, from 2^0 up or down.
enum class From : int { up = 1, down = -1 };
inline Matrix blocks(std::int64_t rows, std::int64_t cols, unsigned seed, unsigned binades, From from) {
  std::mt19937 random(seed);
  Matrix x(rows, cols);
  int binade = 0;
  for (std::int64_t i = 0; i < rows * cols; ++i) {
    if (i % 16 == 0) binade = -31 + static_cast<int>(from) * static_cast<int>(random() % binades);
    x.f32()[i] = std::ldexp(static_cast<float>(static_cast<std::int32_t>(random())), binade);
  }
  return x;
}

}  // namespace scattered
