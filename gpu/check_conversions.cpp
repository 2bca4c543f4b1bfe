#include <array>
#include <bit>
#include <random>

#include <nvfp4/rcp_approx.hpp>

#include "check_instructions.hpp"
#include "device.hpp"
#include "probe_instructions.hpp"

namespace nvfp4::gpu {
namespace {

float number(std::uint32_t bits) { return std::bit_cast<float>(bits); }

/// Each upper half of a pattern with lower halves about its ties; a multiple of 4 numbers.
std::vector<float> patterns(std::uint64_t seed) {
  std::mt19937 random(static_cast<unsigned>(seed));
  std::vector<float> x;
  for (std::uint32_t high = 0; high < 0x10000; ++high)
    for (const std::uint32_t low : {0u, 1u, 0x8000u, static_cast<std::uint32_t>(random() & 0xFFFF)})
      x.push_back(number(high << 16 | low));
  return x;
}

std::vector<std::uint32_t> codes_of(std::span<const float> x, Format format) {
  std::vector<std::uint32_t> codes(x.size());
  cpu_kernels().encode(x, {.format = format}, codes);
  return codes;
}

/// Each code of `bits` bits out of words that hold several, lowest first.
template <class Word>
std::vector<std::uint32_t> unpacked(const std::vector<Word>& words, int bits) {
  std::vector<std::uint32_t> codes;
  for (const std::uint32_t word : words)
    for (int at = 0; at < static_cast<int>(8 * sizeof(Word)); at += bits)
      codes.push_back(word >> at & ((1u << bits) - 1));
  return codes;
}

/// In each group of `count`, last first: PTX names the highest part of a result first.
template <class T>
std::vector<T> reversed(std::vector<T> x, std::size_t count) {
  for (std::size_t i = 0; i < x.size(); i += count)
    std::reverse(x.begin() + static_cast<std::ptrdiff_t>(i),
                 x.begin() + static_cast<std::ptrdiff_t>(i + count));
  return x;
}

InstructionCheck check_rn(std::uint64_t seed) {
  InstructionCheck check{.instruction = "cvt.rn.satfinite.e2m1x2.f32", .model = "encode e2m1"};
  check.exists = has_e2m1_conversions();
  if (!check.exists) return check;
  const std::vector<float> x = patterns(seed);
  tally(check, codes_of(x, Format::e2m1), unpacked(cvt_rn_e2m1x2(reversed(x, 2)), 4), 1);
  return check;
}

InstructionCheck check_back() {
  InstructionCheck check{.instruction = "cvt.rn.f16x2.e2m1x2", .model = "decode e2m1"};
  check.exists = has_e2m1_conversions();
  if (!check.exists) return check;
  std::vector<std::uint8_t> bytes(256);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i);
  const std::vector<std::uint32_t> codes = unpacked(bytes, 4);
  std::vector<float> values(codes.size());
  cpu_kernels().decode(codes, Format::e2m1, values);
  const std::vector<std::uint16_t> found = cvt_f16x2_e2m1x2(bytes);
  tally(check, codes_of(values, Format::fp16), {found.begin(), found.end()}, 2);
  return check;
}

InstructionCheck check_e4m3(std::uint64_t seed) {
  const std::vector<float> x = patterns(seed);
  InstructionCheck check{.instruction = "cvt.rn.satfinite.e4m3x2.f32", .model = "encode e4m3"};
  check.exists = capability() >= 90;
  if (check.exists) tally(check, codes_of(x, Format::e4m3), unpacked(cvt_rn_e4m3x2(reversed(x, 2)), 8), 1);
  return check;
}

/// Which byte of the word rounds which element, and how, no document says.
InstructionCheck check_rs(std::uint64_t seed) {
  InstructionCheck check{.instruction = "cvt.rs.satfinite.e2m1x4.f32", .model = "carry, byte map hw"};
  check.exists = has_stochastic_conversions();
  check.has_hypotheses = true;
  if (!check.exists) return check;
  const std::vector<float> x = patterns(seed);
  std::mt19937 random(static_cast<unsigned>(seed + 1));
  std::vector<std::uint32_t> words(x.size() / 4);
  for (std::uint32_t& word : words) word = static_cast<std::uint32_t>(random());
  const std::vector<std::uint32_t> found = unpacked(cvt_rs_e2m1x4(reversed(x, 4), words), 4);
  for (const SrRule rule : {SrRule::carry, SrRule::te_software})
    for (const ByteMap map : {ByteMap::hw, ByteMap::te}) {
      std::vector<std::uint32_t> bytes(x.size()), expected(x.size());
      for (std::size_t i = 0; i < x.size(); ++i)
        bytes[i] = words[i / 4] >> (8 * byte_of(map, static_cast<int>(i % 4))) & 0xFF;
      cpu_kernels().encode_stochastic(x, bytes, {.rule = rule}, expected);
      if (rule == SrRule::carry && map == ByteMap::hw) tally(check, expected, found, 1);
      if (expected == found)
        check.survivors.push_back(std::string(name(rule)) + ", byte map " + std::string(name(map)));
    }
  return check;
}

/// Every significand once, and every exponent with a few.
InstructionCheck check_rcp() {
  std::vector<float> x;
  for (std::uint32_t bits = 0x3F800000; bits < 0x40000000; ++bits) x.push_back(number(bits));
  for (std::uint32_t high = 0; high < 0x10000; ++high)
    for (const std::uint32_t low : {0u, 1u, 0x5A5Au, 0xFFFFu}) x.push_back(number(high << 16 | low));
  const std::vector<float> found = rcp_approx_ftz(x);
  std::vector<std::uint32_t> expected(x.size()), actual(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    expected[i] = std::bit_cast<std::uint32_t>(nvfp4::rcp_approx_ftz(x[i]));
    actual[i] = std::bit_cast<std::uint32_t>(found[i]);
  }
  InstructionCheck check{.instruction = "rcp.approx.ftz.f32", .model = "table measured on an H200"};
  tally(check, expected, actual, 4);
  return check;
}

}  // namespace

std::vector<InstructionCheck> check_conversions(std::uint64_t seed) {
  return {check_rcp(), check_e4m3(seed), check_rn(seed), check_back(), check_rs(seed)};
}

}  // namespace nvfp4::gpu
