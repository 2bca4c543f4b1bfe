#include "code_rows.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "formats.hpp"

namespace nvfp4::cpu {
namespace {

/// Elements [first, first + codes.size()) as FP32 bits.
void widen(MatrixView x, std::int64_t first, std::span<std::uint32_t> bits) {
  if (x.dtype == Dtype::fp32) {
    std::copy_n(static_cast<const std::uint32_t*>(x.data) + first, bits.size(), bits.begin());
    return;
  }
  std::copy_n(static_cast<const std::uint16_t*>(x.data) + first, bits.size(), bits.begin());
  std::vector<float> values(bits.size());
  decode(bits, x.dtype == Dtype::bf16 ? Format::bf16 : Format::fp16, values);
  std::ranges::transform(values, bits.begin(), [](float v) { return std::bit_cast<std::uint32_t>(v); });
}

/// FP32 bits to codes that lose nothing.
void narrow(std::span<std::uint32_t> bits, Format format, std::string_view model) {
  std::vector<float> values(bits.size()), back(bits.size());
  std::ranges::transform(bits, values.begin(), [](std::uint32_t b) { return std::bit_cast<float>(b); });
  encode(values, {.format = format, .overflow = Overflow::special}, bits);
  decode(bits, format, back);
  for (std::size_t i = 0; i < bits.size(); ++i)
    if (!std::isnan(values[i]) && values[i] != back[i])
      throw std::invalid_argument(std::string(model) + ": every value must be a " +
                                  std::string(info(format).name) + " number");
}

void check_values(MatrixView x, Format format, std::string_view model) {
  std::vector<std::uint32_t> bits(static_cast<std::size_t>(x.cols));
  for (std::int64_t i = 0; i < x.rows; ++i) {
    widen(x, i * x.cols, bits);
    narrow(bits, format, model);
  }
}

bool is_stored_as(Dtype dtype, Format format) {
  return (dtype == Dtype::bf16 && format == Format::bf16) || (dtype == Dtype::fp16 && format == Format::fp16);
}

}  // namespace

CodeRows code_rows(const BlockScaledTensor& t) {
  CodeRows x{t.rows, t.cols, t.spec.dialect->element, t.spec.dialect->scale, t.spec.block.cols, {}};
  const bool nibbles = info(*x.element).bits == 4;
  x.read = [&t, nibbles](std::int64_t row, std::span<std::uint32_t> codes, std::span<std::uint8_t> scales) {
    const std::uint8_t* bytes = t.codes.data() + row * t.row_bytes();
    for (std::size_t k = 0; k < codes.size(); ++k)
      codes[k] = nibbles ? bytes[k / 2] >> (k % 2 * 4) & 15 : bytes[k];
    std::copy_n(t.scales.data() + row * t.blocks_per_row(), scales.size(), scales.begin());
  };
  return x;
}

CodeRows code_rows(MatrixView m, std::optional<Format> format, const Accumulation& acc) {
  CodeRows x{m.rows, m.cols, format, std::nullopt, 1, {}};
  const bool stored = format && is_stored_as(m.dtype, *format);
  if (format && !stored) check_values(m, *format, acc.name);
  x.read = [m, format, stored](std::int64_t row, std::span<std::uint32_t> codes, std::span<std::uint8_t>) {
    if (stored) {
      std::copy_n(static_cast<const std::uint16_t*>(m.data) + row * m.cols, codes.size(), codes.begin());
      return;
    }
    widen(m, row * m.cols, codes);
    if (format) narrow(codes, *format, "");
  };
  return x;
}

CodeRows code_rows(const MmaOperands& m, bool second) {
  CodeRows x{m.tiles * (second ? m.cols : m.rows),
             m.k,
             second ? m.b_format : m.a_format,
             m.scale,
             m.scale ? m.block : 1,
             {}};
  const auto all = second ? m.b : m.a;
  const auto all_scales = second ? m.b_scales : m.a_scales;
  x.read = [all, all_scales](std::int64_t row, std::span<std::uint32_t> codes,
                             std::span<std::uint8_t> scales) {
    const auto first = static_cast<std::size_t>(row) * codes.size();
    for (std::size_t k = 0; k < codes.size(); ++k) codes[k] = static_cast<std::uint32_t>(all[first + k]);
    std::copy_n(all_scales.data() + static_cast<std::size_t>(row) * scales.size(), scales.size(),
                scales.begin());
  };
  return x;
}

}  // namespace nvfp4::cpu
