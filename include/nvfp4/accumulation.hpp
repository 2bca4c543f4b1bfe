#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include <nvfp4/formats.hpp>

namespace nvfp4 {

/// How an output of a matrix product is summed over k.
enum class Summation : std::uint8_t {
  aligned,        ///< fused steps: exact products and C, aligned to one exponent, cut, added, converted once
  chunks,         ///< p = RNE FP32 of the exact sum of a step's products; c = RZ FP32 of c + p
  exact,          ///< one RNE FP32 of the exact sum of all products and C
  fp32_in_order,  ///< c = RNE FP32 of c + (RNE FP32 of the product), k ascending
  fp64_fma,       ///< c = IEEE binary64 fma(a, b, c), k ascending
};

/// By which exponents terms are aligned. No significand is normalised before.
enum class Align : std::uint8_t {
  product,  ///< each product, by its elements' exponents plus those of its scales
  group,    ///< each group's exact dot product, by the exponents of its scales alone
};

/// What is done to the bits of a term below e_max - F. All but toward_zero are hypotheses to test against.
enum class AlignRounding : std::uint8_t { toward_zero, floor, nearest_even };

/// Which group (or product) counts as zero, so that it takes zero_exponent and cannot raise e_max.
enum class ZeroRule : std::uint8_t {
  zero_products,  ///< all its products are zero, a zero scale included; one that cancels to zero keeps its own
  zero_sum,       ///< its sum is zero
  never,          ///< none: even C = 0 counts by its exponent field
};

/// Which k of an instruction go into which step.
enum class KOrder : std::uint8_t {
  ascending,
  mod4
};  ///< mod4: k mod 4 in {0, 1} first, then those in {2, 3}

/// Of a step's sum: to FP32 by truncation; the same to 13 fraction bits; to FP16 or FP32 to nearest even.
enum class Conversion : std::uint8_t { rz_fp32, rz_e8m13, rne_fp16, rne_fp32 };

/// A tensor core as a few integers. Finite products are exact and a step is independent of their order. Of any
/// NaN, infinity times zero, or infinities of both signs comes the NaN 0x7FFFFFFF (FP16: 0x7FFF), else
/// an infinity wins; overflow gives an infinity; subnormals are kept everywhere. Source: MMA-Sim
/// (arXiv:2511.10909) and Khattak, Mikaitis (arXiv:2512.07004).
struct Accumulation {
  std::string_view name;
  Summation sum = Summation::aligned;
  int k = 1;     ///< products of one instruction; a longer K is chained in order, a shorter padded with zeros
  int step = 1;  ///< L: products of one step
  int group = 1;          ///< G: products that are added exactly before they are aligned
  int fraction_bits = 0;  ///< F: bits kept below the largest exponent, at most 40
  int zero_exponent = 0;  ///< e_zero: the exponent of a zero term
  Align align = Align::product;
  AlignRounding align_rounding = AlignRounding::toward_zero;
  ZeroRule zero_rule = ZeroRule::zero_products;
  KOrder k_order = KOrder::ascending;
  Conversion out = Conversion::rz_fp32;
  bool c_in_sum = true;  ///< false: steps start from zero, and C is added to the instruction's result by RNE
  bool minus_zero = false;             ///< a sum of nothing but -0 is -0; else every zero result is +0
  bool has_fp16 = false;               ///< has a variant that accumulates in FP16
  std::span<const Format> elements{};  ///< that its operands may have; empty: all
  std::optional<Format> scale{};       ///< of its block scales
  int block = 0, other_block = 0;      ///< elements that share one
  std::string_view evidence{}, confidence{};
};

/// Of the models of `exact` and `fp32_in_order`, which take every element format, with and without scales.
constexpr bool takes_all(const Accumulation& acc) {
  return acc.sum == Summation::exact || acc.sum == Summation::fp32_in_order;
}

std::span<const Accumulation> accumulations();
/// Null where there is none of that name.
const Accumulation* find_accumulation(std::string_view name);

/// The variant whose C and D are FP16. Throws std::invalid_argument where there is none.
inline Accumulation fp16_accumulator(Accumulation acc) {
  if (!acc.has_fp16) throw std::invalid_argument(std::string(acc.name) + " has no FP16 accumulator");
  acc.out = Conversion::rne_fp16;
  acc.zero_exponent += 112;  // as FP16's smallest exponent lies above FP32's
  return acc;
}

}  // namespace nvfp4
