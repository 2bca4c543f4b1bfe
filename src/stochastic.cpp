#include "stochastic.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include <nvfp4/kernels.hpp>

#include "float_environment.hpp"
#include "formats.hpp"

namespace nvfp4::cpu {
namespace {

/// The index of |x| (formats.hpp) with r added to the uppermost discarded bits. 63: all that is cut lies below every r.
std::uint32_t carry(std::uint32_t magnitude, std::uint32_t r, const FormatInfo& f, int bits) {
  const int smallest_normal = 128 - f.bias;  // as an FP32 exponent field
  const int field = std::max(static_cast<int>(magnitude >> 23), 1);
  const int binade = std::max(field, smallest_normal);
  const int cut = std::min(23 - f.mantissa_bits + binade - field, 63);
  const std::uint64_t significand = (magnitude & 0x7FFFFF) | (magnitude >= 0x800000 ? 0x800000 : 0);
  const std::uint64_t steps = cut < bits ? significand << (bits - cut) : significand >> (cut - bits);
  const auto kept = static_cast<std::uint32_t>((steps + r) >> bits);
  return kept + (static_cast<std::uint32_t>(binade - smallest_normal) << f.mantissa_bits);
}

std::uint32_t te_software(std::uint32_t magnitude, std::uint32_t r) {
  const auto a = std::bit_cast<float>(magnitude);
  const float step = a >= 4 ? 2 : a >= 2 ? 1 : 0.5f;
  const float sum = a + static_cast<float>(r) * (step / 256);  // the product is exact
  return rounded_index<Format::e2m1, Rounding::toward_zero>(std::bit_cast<std::uint32_t>(sum), 0);
}

/// A NaN takes the last branch and its maximum: code 6.
std::uint32_t tetrajet(std::uint32_t magnitude, std::uint32_t r) {
  const auto a = std::bit_cast<float>(magnitude);
  const float low = a <= 2 ? 0 : a <= 4 ? 2 : 4, step = a <= 2 ? 0.5f : a <= 4 ? 1 : 2;
  const float moved = a + (static_cast<float>(r) * 0x1p-23f - 0.5f) * step;
  const float held = std::fmin(std::fmax(moved, low), low + 2);
  return rounded_index<Format::e2m1, Rounding::nearest_even>(std::bit_cast<std::uint32_t>(held), 0);
}

std::uint32_t encode(float x, std::uint32_t r, const StochasticEncoding& e) {
  const FormatInfo& f = info(e.format);
  const auto pattern = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t magnitude = pattern & 0x7FFFFFFF, sign = pattern >> 31 << (f.bits - 1);
  if (e.rule == SrRule::tetrajet) return tetrajet(magnitude, r) | sign;
  const std::uint32_t nan = (1u << (f.bits - 1)) - 1, largest = f.has_nan ? nan - 1 : nan;
  if (magnitude > infinity_pattern) return nan;
  const std::uint32_t index =
      e.rule == SrRule::carry ? carry(magnitude, r, f, e.bits) : te_software(magnitude, r);
  return std::min(index, largest) | sign;
}

}  // namespace

void encode_stochastic(std::span<const float> values, std::span<const std::uint32_t> random,
                       const StochasticEncoding& e, std::span<std::uint32_t> codes) {
  validate(e);
  const auto n = static_cast<std::int64_t>(values.size());
#pragma omp parallel num_threads(threads())
  {
    const FloatEnvironment fenced;
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < n; ++i) {
      const auto at = static_cast<std::size_t>(i);
      codes[at] = encode(values[at], random[at], e);
    }
  }
}

}  // namespace nvfp4::cpu
