#include "embedded_values.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include <nvfp4/kernels.hpp>

namespace nvfp4::cli {
namespace {

constexpr std::uint32_t special_bits[] = {
    0x00000000, 0x00000001, 0x007FFFFF, 0x00800000, 0x00800001, 0x7F7FFFFF, 0x7F800000,
    0x7F800001, 0x7FA00000, 0x7FBFFFFF, 0x7FC00000, 0x7FC00001, 0x7FFFFFFF,
};

void add_around(float x, std::vector<float>& values) {
  for (const float y : {std::nextafter(x, 0.f), x, std::nextafter(x, INFINITY)}) {
    values.push_back(y);
    values.push_back(-y);
  }
}

/// The non-negative finite values of the codes, ascending; of wide formats one in 61, which meets every exponent.
std::vector<float> magnitudes(Format format) {
  std::vector<std::uint32_t> codes = codes_of(format);
  std::vector<float> values(codes.size()), kept;
  reference_kernels().decode(codes, format, values);
  std::sort(values.begin(), values.end(),
            [](float a, float b) { return std::isnan(b) ? !std::isnan(a) : a < b; });
  const std::size_t stride = info(format).bits > 8 ? 61 : 1;
  for (std::size_t i = 0; i < values.size(); i += stride)
    for (std::size_t neighbour = i; neighbour < std::min(i + 2, values.size()); ++neighbour)
      if (std::isfinite(values[neighbour]) && !std::signbit(values[neighbour]))
        kept.push_back(values[neighbour]);
  kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
  return kept;
}

}  // namespace

std::vector<float> boundary_values(Format format) {
  std::vector<float> values;
  const std::vector<float> grid = magnitudes(format);
  for (std::size_t i = 0; i < grid.size(); ++i) {
    add_around(grid[i], values);
    if (i) add_around(static_cast<float>((static_cast<double>(grid[i - 1]) + grid[i]) / 2), values);
  }
  for (const double factor :
       {1.03, 1.0625, 1.1, 1.25, 2.0})  // beyond the largest: E4M3's 464 is 448 * 1.0357
    add_around(static_cast<float>(info(format).max * factor), values);
  for (const std::uint32_t bits : special_bits)
    for (const std::uint32_t sign : {0u, 0x80000000u}) values.push_back(std::bit_cast<float>(bits | sign));
  return values;
}

std::vector<float> bf16_values() {
  std::vector<float> values;
  for (std::uint32_t code = 0; code < 65536; ++code) values.push_back(std::bit_cast<float>(code << 16));
  return values;
}

std::vector<std::uint32_t> codes_of(Format format) {
  const bool tf32 = format == Format::tf32;
  std::vector<std::uint32_t> codes(std::size_t{1} << std::min(info(format).bits, 16));
  for (std::uint32_t i = 0; i < codes.size(); ++i) codes[i] = tf32 ? i << 16 | (i & 7) << 13 : i;
  return codes;
}

}  // namespace nvfp4::cli
