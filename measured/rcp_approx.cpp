#include <nvfp4/rcp_approx.hpp>

#include <bit>
#include <cstdint>

// NVFP4_RCP_APPROX is the path of rcp_approx.bin, which README.md describes.
asm(".section .rodata\n"
    ".local nvfp4_rcp_approx\n"
    "nvfp4_rcp_approx:\n"
    ".incbin \"" NVFP4_RCP_APPROX
    "\"\n"
    ".previous\n");
extern "C" const std::uint8_t nvfp4_rcp_approx[] __attribute__((visibility("hidden")));

namespace nvfp4 {
namespace {

int delta(std::uint32_t significand) {
  constexpr int power[5] = {1, 3, 9, 27, 81};
  return nvfp4_rcp_approx[significand / 5] / power[significand % 5] % 3 - 1;
}

/// The pattern of the correctly rounded reciprocal of 1.significand. Its quotient is no tie: a power of two has no odd factor.
std::uint32_t rounded_reciprocal(std::uint32_t significand) {
  const std::uint64_t m = 0x800000 | significand;
  const std::uint64_t twice = (std::uint64_t{1} << 48) / m;  // 25 bits, but 2^25 for m = 2^23
  const auto rounded = static_cast<std::uint32_t>((twice + 1) / 2);
  return (126u << 23) + (rounded - 0x800000);
}

}  // namespace

float rcp_approx_ftz(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = bits & 0x80000000, magnitude = bits & 0x7FFFFFFF, significand = bits & 0x7FFFFF;
  const int field = static_cast<int>(magnitude >> 23);
  if (magnitude > 0x7F800000) return std::bit_cast<float>(0x7FFFFFFFu);
  if (field == 0) return std::bit_cast<float>(sign | 0x7F800000);
  if (field == 255) return std::bit_cast<float>(sign);
  const auto at_one = static_cast<std::int32_t>(rounded_reciprocal(significand)) + delta(significand);
  const std::int32_t pattern = at_one - (field - 127) * 0x800000;
  return std::bit_cast<float>(sign | (pattern < 0x800000 ? 0 : static_cast<std::uint32_t>(pattern)));
}

}  // namespace nvfp4
