#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "tests/gaussian.hpp"

/// Operands of products of which every distribution is hard on some condition of the emulated GEMM.
namespace gemm_cases {

using namespace nvfp4;
using Random = std::mt19937;

/// An E4M3 scale of this exponent, -6 to 8, but not NaN.
inline std::uint8_t e4m3(int exponent, std::uint32_t mantissa) {
  return static_cast<std::uint8_t>(
      std::min(static_cast<std::uint32_t>(exponent + 7) << 3 | (mantissa & 7), 0x7Eu));
}

struct Block {
  std::uint64_t codes;
  std::uint8_t scale;
};
using MakeBlock = std::function<Block(Random&, std::int64_t row, std::int64_t block)>;

inline std::uint64_t random_codes(Random& random) { return std::uint64_t{random()} << 32 | random(); }

inline BlockScaledTensor tensor(std::int64_t rows, std::int64_t k, unsigned seed, const MakeBlock& make) {
  BlockScaledTensor t{.spec = default_spec(dialects::te::info), .rows = rows, .cols = k};
  t.codes.resize(static_cast<std::size_t>(rows * t.row_bytes()));
  t.scales.resize(static_cast<std::size_t>(rows * t.blocks_per_row()));
  Random random(seed);
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t block = 0; block < t.blocks_per_row(); ++block) {
      const Block b = make(random, i, block);
      const auto at = static_cast<std::size_t>(i * t.blocks_per_row() + block);
      const std::int64_t elements = std::min<std::int64_t>(16, k - 16 * block);
      const std::uint64_t codes =
          elements < 16 ? b.codes & ((std::uint64_t{1} << 4 * elements) - 1) : b.codes;
      for (std::size_t byte = 0; byte < 8; ++byte)
        t.codes[8 * at + byte] = static_cast<std::uint8_t>(codes >> 8 * byte);
      t.scales[at] = b.scale;
    }
  return t;
}

/// Random codes under scales of so many successive exponents; some blocks and rows are zero.
inline MakeBlock binades(int least, int count) {
  return [=](Random& random, std::int64_t row, std::int64_t) -> Block {
    const bool zero = random() % 16 == 0 || row % 37 == 5;
    const auto exponent = least + static_cast<int>(random() % static_cast<unsigned>(count));
    return {zero ? 0 : random_codes(random), e4m3(exponent, random())};
  };
}

/// Any scale byte but NaN, zero scales under codes that are not zero, bit 7 at random.
inline Block any_codes(Random& random, std::int64_t row, std::int64_t) {
  const bool zero = random() % 16 == 0 || row % 37 == 5;
  return {zero ? 0 : random_codes(random), static_cast<std::uint8_t>(random() % 127 | (random() & 0x80))};
}

/// A few rows have a NaN scale, some over a block of zeros.
inline MakeBlock few_nans(MakeBlock others) {
  return [=](Random& random, std::int64_t row, std::int64_t block) -> Block {
    if (row % 50 != 7 || block % 9 != 3) return others(random, row, block);
    return {row % 100 == 7 ? 0 : random_codes(random), static_cast<std::uint8_t>(0x7F | (random() & 0x80))};
  };
}

inline Block all_max(Random&, std::int64_t, std::int64_t) { return {0x7777777777777777, 0x7E}; }

/// Sums grow at their fastest for a while; then come the smallest products.
inline Block growth(Random& random, std::int64_t, std::int64_t block) {
  if (block % 64 < 48) return {0x7777777777777777, 0x7E};
  return {random_codes(random), static_cast<std::uint8_t>(random() % 4)};
}

/// Of the larger scale only few elements, so that groups of zero products and groups that cancel abound beside the
/// smallest units; sign and place repeat between rows.
inline Block sparse(Random& random, std::int64_t, std::int64_t) {
  std::uint64_t codes = 0;
  for (int n = random() % 4; n > 0; --n)
    codes |= std::uint64_t{random() % 2 ? 2u : 10u} << 4 * (random() % 4);
  const std::uint8_t scales[] = {0, 1, 1, 3, 0x38, 0x78, 0x7E, 0x78};
  return {codes, scales[random() % 8]};
}

/// A step is big, its negative, and two groups of small ones.
inline Block cancels(Random& random, std::int64_t row, std::int64_t block) {
  const std::uint64_t sign = row % 2 == 0 && block % 4 == 1 ? 0x8888888888888888 : 0;
  if (block % 4 < 2) return {0x2222222222222222 ^ sign, 0x78};
  return {random_codes(random), static_cast<std::uint8_t>(1 + random() % 24)};
}

/// The same, but what comes then takes two numbers.
inline Block wide_growth(Random& random, std::int64_t, std::int64_t block) {
  if (block % 32 < 20) return {0x7777777777777777, 0x7E};
  return {random_codes(random), e4m3(-6 + static_cast<int>(random() % 6), random())};
}

/// Steps of a few smallest products, then of a few large ones, which often cancel.
inline Block low_bits(Random& random, std::int64_t, std::int64_t block) {
  const bool large = block / 4 % 2;
  std::uint64_t codes = 0;
  for (unsigned n = random() % 3; n > 0; --n)
    codes |= std::uint64_t{(random() % 2 ? 8u : 0u) | (large ? 2u : 1u)} << 4 * (random() % 3);
  return {codes, static_cast<std::uint8_t>(large ? 0x78 : 1)};
}

/// Of four blocks one is as large as it can be, the others are smaller by so many binades.
inline MakeBlock heavy(int apart) {
  return [=](Random& random, std::int64_t row, std::int64_t block) -> Block {
    if (block % 4 == 2) return {row % 3 ? 0x7777777777777777 : 0xFFFFFFFFFFFFFFFF, e4m3(apart - 6, 7)};
    return {random_codes(random), e4m3(-6, random())};
  };
}

/// Rows are nearly parallel, so that sums come near the product of their norms.
inline Block parallel(Random& random, std::int64_t, std::int64_t block) {
  if (block % 4 < 3) return {0x7777777777777777, e4m3(block / 4 % 2 + 1, 7)};
  return {random_codes(random), e4m3(0, random())};
}

/// Groups of zero products under the largest scales, beside the smallest products.
inline Block zero_groups(Random& random, std::int64_t, std::int64_t block) {
  if (block % 4 == 1) return {std::uint64_t{2} << 4 * (random() % 16), 0x78};
  return {random_codes(random) & 0x9999999999999999, 1};
}

struct Case {
  std::string what;
  std::function<BlockScaledTensor(std::int64_t rows, std::int64_t k, unsigned seed)> make;
};

inline Case of_blocks(std::string what, MakeBlock make) {
  return {std::move(what),
          [make](std::int64_t rows, std::int64_t k, unsigned seed) { return tensor(rows, k, seed, make); }};
}

inline BlockScaledTensor quantized(const Matrix& x) {
  return cpu_kernels().quantize(x.view(), default_spec(dialects::te::info), {});
}

inline std::vector<Case> all() {
  return {{"gaussian", [](std::int64_t rows, std::int64_t k,
                          unsigned seed) { return quantized(gaussian::matrix(rows, k, seed)); }},
          {"hot columns",
           [](std::int64_t rows, std::int64_t k, unsigned seed) {
             return quantized(gaussian::matrix(rows, k, seed, {64, 5, 100}));
           }},
          of_blocks("3 binades", binades(-1, 3)),
          of_blocks("4 binades", binades(-2, 4)),
          of_blocks("5 binades", binades(-2, 5)),
          of_blocks("7 binades", binades(-3, 7)),
          of_blocks("9 binades", binades(-6, 9)),
          of_blocks("15 binades", binades(-6, 15)),
          of_blocks("any code", any_codes),
          of_blocks("few NaNs", few_nans(binades(2, 3))),
          of_blocks("any code, few NaNs", few_nans(any_codes)),
          of_blocks("largest", all_max),
          of_blocks("growth", growth),
          of_blocks("wide growth", wide_growth),
          of_blocks("low bits", low_bits),
          of_blocks("heavy by 8", heavy(8)),
          of_blocks("heavy by 11", heavy(11)),
          of_blocks("parallel", parallel),
          of_blocks("zero groups", zero_groups),
          of_blocks("sparse", sparse),
          of_blocks("cancels", cancels)};
}

}  // namespace gemm_cases
