#pragma once
#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include <nvfp4/dialect.hpp>
#include <nvfp4/random.hpp>

namespace nvfp4 {

/// The signs that a random Hadamard transform multiplies its input by, before the sum: one vector for all groups.
enum class Signs : std::uint8_t {
  none,
  te,    ///< Transformer Engine's fixed vector, of size 16 alone
  seed,  ///< drawn: see sign_words()
};
constexpr std::string_view name(Signs s) {
  return s == Signs::te ? "te" : s == Signs::seed ? "seed" : "none";
}

/// Transformer Engine's fixed sign vector: bit i set is a minus at i.
inline constexpr std::uint32_t te_sign_mask = 0xD7E8;

/// RandomBits::stream of Signs::seed: "hadamard" in ASCII.
inline constexpr std::uint64_t hadamard_stream = 0x686164616D617264;

/// How the products of an output are added.
enum class HadamardSum : std::uint8_t {
  fma_chain,    ///< FP32 fused multiply-adds from +0, k ascending: TE's PyTorch reference on a CPU
  tensor_core,  ///< the sm_90 and sm_100 BF16 tensor core (tensorcore.md 7, F = 25): steps of 16 products, k
                ///< ascending, each of which takes the sum so far, 0 at first, as one more term
  exact,        ///< the exact sum, rounded once to FP32; an exact zero is +0
};

/// What is transformed: groups of columns of a row, or groups of rows (tokens) of a column, as a GEMM over tokens
/// needs before its operand is transposed.
enum class Along : std::uint8_t { row, tokens };

/// y(i, size g + j) = sum over k of x(i, size g + k) * sign(k) * H(k, j) * c, with H(k, j) = (-1)^popcount(k & j),
/// Sylvester's order, and c = 1 / sqrt(size) rounded to the input's element type. Along tokens i and the other
/// index change places.
struct Hadamard {
  Signs signs = Signs::te;
  HadamardSum sum = HadamardSum::fma_chain;
  bool rounded = true;  ///< to the input's element type; else each sum is handed on in FP32
  int size = 16;        ///< 2, 4, 8, 16, 32, 64 or 128
  Along along = Along::row;
  std::uint64_t seed = 0;  ///< of Signs::seed
};

constexpr bool is_hadamard_size(int size) { return size >= 2 && size <= 128 && (size & (size - 1)) == 0; }

/// c: a power of two where the size is one of four, else rounded from sqrt(1/2).
constexpr float hadamard_entry(int size, Dtype dtype) {
  float entry = 1;
  for (; size >= 4; size /= 4) entry /= 2;
  const float sqrt_half = dtype == Dtype::fp32 ? 0x1.6a09e6p-1f : 0x1.6ap-1f;  // BF16 and FP16 round alike
  return size == 2 ? entry * sqrt_half : entry;
}

/// Bit k % 32 of word k / 32 set is a minus at k. Of a seed, they are draw({seed, hadamard_stream}, 0, 0).
using SignWords = std::array<std::uint32_t, 4>;
constexpr SignWords sign_words(const Hadamard& h) {
  if (h.signs == Signs::seed) return draw({.seed = h.seed, .stream = hadamard_stream}, 0, 0);
  return {h.signs == Signs::te ? te_sign_mask : 0, 0, 0, 0};
}

/// The sign of diag(sign) H at (k, j).
constexpr bool is_negative(const SignWords& signs, int k, int j) {
  const auto odd = static_cast<std::uint32_t>(__builtin_popcount(static_cast<unsigned>(k & j)));
  return ((signs[static_cast<std::size_t>(k) / 32] >> k % 32 ^ odd) & 1) != 0;
}

/// Throws std::invalid_argument, saying what is wrong, for a transform that this matrix does not have.
inline void validate(const Hadamard& h, std::int64_t rows, std::int64_t cols) {
  const std::string of = "a Hadamard transform of " + std::to_string(h.size);
  if (!is_hadamard_size(h.size)) throw std::invalid_argument(of + ": expected 2, 4, 8, 16, 32, 64 or 128");
  if (h.signs == Signs::te && h.size != 16)
    throw std::invalid_argument(of + " has no signs of te: they are 16; signs none or seed have any size");
  if (h.along == Along::row && cols % h.size)
    throw std::invalid_argument(of + " needs columns in multiples of " + std::to_string(h.size));
  if (h.along == Along::tokens && rows % h.size)
    throw std::invalid_argument(of + " along tokens needs rows in multiples of " + std::to_string(h.size));
}

}  // namespace nvfp4
