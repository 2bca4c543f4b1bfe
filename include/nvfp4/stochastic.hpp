#pragma once
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include <nvfp4/formats.hpp>
#include <nvfp4/random.hpp>

namespace nvfp4 {

/// How a random number r decides between the two neighbours of a value x, lo <= |x| <= hi in magnitude, with
/// f = (|x| - lo) / (hi - lo). The sign of x stays.
enum class SrRule : std::uint8_t {
  /// hi where floor(2^bits f) + r >= 2^bits: r is added to the uppermost discarded bits and the carry rounds, as
  /// PTX says of cvt.rs. P(hi) = floor(2^bits f) / 2^bits, which is f itself where f has at most `bits` bits.
  carry,
  /// E2M1 by Transformer Engine's common/util/ptx.cuh, 8 bits: floor(|x| + r / 256 * step) on the grid, that sum
  /// rounded to FP32 by RNE. A tiny |x| may thus reach a step that carry does not.
  te_software,
  /// E2M1 by TetraJet-v2's kernels/csrc/quant_fp4.cu, 23 bits: |x| + (r / 2^23 - 1/2) * step, rounded to FP32, held
  /// between the ends 0, 2, 4, 6 of the grid that |x| lies in, then RNE.
  tetrajet,
};
constexpr std::string_view name(SrRule r) {
  return r == SrRule::carry ? "carry" : r == SrRule::te_software ? "te_software" : "tetrajet";
}

/// E2M1 and E4M3 saturate; BF16 becomes Inf where it passes the largest finite value. NaN gives what PTX's cvt
/// gives: 7, 0x7F, 0x7FFF; but 4 with its sign by tetrajet.
struct StochasticEncoding {
  Format format = Format::e2m1;  ///< e2m1, e4m3 or bf16; the other rules know e2m1 alone
  SrRule rule = SrRule::carry;
  int bits = 8;  ///< of each random number, 1 to 32; 8 for te_software, 23 for tetrajet
};

/// Which byte of a random word rounds which of its four elements.
enum class ByteMap : std::uint8_t {
  hw,  ///< bytes 0, 2, 1, 3: cvt.rs.satfinite.e2m1x4 on sm_100, inferred from PTX's text and generated code
  te,  ///< bytes 0, 1, 2, 3: Transformer Engine's software rounder
};
constexpr std::string_view name(ByteMap m) { return m == ByteMap::hw ? "hw" : "te"; }
constexpr int byte_of(ByteMap map, int element) {
  constexpr int hardware[] = {0, 2, 1, 3};
  return map == ByteMap::hw ? hardware[element] : element;
}

/// Stochastic rounding of a quantized tensor's elements, 8 bits each. Scales are always rounded as the dialect says.
struct Stochastic {
  SrRule rule = SrRule::carry;  ///< or te_software
  ByteMap map = ByteMap::hw;
  RandomBits random{};
  bool from_caller = false;  ///< `words` are used instead of `random`
  /// rows x (ceil(cols / 16) * 4), row-major: one word for 4 consecutive elements. Not kept in a tensor's spec.
  std::span<const std::uint32_t> words{};
};

/// Throws std::invalid_argument for a combination that no layer has.
inline void validate(const StochasticEncoding& e) {
  const bool known = e.format == Format::e2m1 || e.format == Format::e4m3 || e.format == Format::bf16;
  if (!known) throw std::invalid_argument("stochastic rounding is to e2m1, e4m3 or bf16");
  const std::string rule(name(e.rule));
  if (e.rule != SrRule::carry && e.format != Format::e2m1)
    throw std::invalid_argument(rule + " rounds to e2m1 alone");
  if (e.rule == SrRule::te_software && e.bits != 8) throw std::invalid_argument(rule + " takes 8 bits");
  if (e.rule == SrRule::tetrajet && e.bits != 23) throw std::invalid_argument(rule + " takes 23 bits");
  if (e.bits < 1 || e.bits > 32) throw std::invalid_argument("a random number has 1 to 32 bits");
}

}  // namespace nvfp4
