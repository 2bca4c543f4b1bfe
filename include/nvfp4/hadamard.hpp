#pragma once
#include <cstdint>

#include <nvfp4/dialect.hpp>

namespace nvfp4 {

/// The signs that a random Hadamard transform multiplies its input by, before the sum.
enum class Signs : std::uint8_t { none, te };
constexpr std::string_view name(Signs s) { return s == Signs::te ? "te" : "none"; }

/// Transformer Engine's fixed sign vector: bit i set is a minus at i.
inline constexpr std::uint32_t te_sign_mask = 0xD7E8;

/// How the 16 products of an output are added.
enum class HadamardSum : std::uint8_t {
  fma_chain,    ///< FP32 fused multiply-adds from +0, k ascending: TE's PyTorch reference on a CPU
  tensor_core,  ///< one step of the sm_90 and sm_100 BF16 tensor core: tensorcore.md 7, F = 25
};

/// y(i, 16 g + j) = sum over k of x(i, 16 g + k) * sign(k) * H(k, j) / 4, with H(k, j) = (-1)^popcount(k & j):
/// Sylvester's order, size 16.
struct Hadamard {
  Signs signs = Signs::te;
  HadamardSum sum = HadamardSum::fma_chain;
  bool rounded = true;  ///< to the input's element type; else each sum is handed on in FP32
};

constexpr bool is_negative(const Hadamard& h, int k, int j) {
  const std::uint32_t mask = h.signs == Signs::te ? te_sign_mask : 0;
  return ((mask >> k ^ static_cast<std::uint32_t>(__builtin_popcount(static_cast<unsigned>(k & j)))) & 1) !=
         0;
}

}  // namespace nvfp4
