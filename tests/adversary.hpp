#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include <nvfp4/kernels.hpp>

/// Operands for models of tensor cores.
namespace adversary {

using namespace nvfp4;
using Codes = std::vector<std::uint64_t>;

inline std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }

inline std::uint64_t code_of(float x, Format format) {
  std::uint32_t code = 0;
  reference_kernels().encode({&x, 1}, {.format = format, .overflow = Overflow::special}, {&code, 1});
  return code;
}

/// Operands of which every distribution is hard on some model: random bits, a few binades, few elements that are
/// not zero, products that cancel, C far above, near or far below them.
class Adversary {
 public:
  explicit Adversary(unsigned seed) : random_(seed) {}

  MmaOperands operands(const Accumulation& acc, Format format, std::int64_t tiles, std::int64_t k,
                       std::int64_t rows = 2, std::int64_t cols = 3) {
    MmaOperands x{.tiles = tiles, .rows = rows, .cols = cols, .k = k, .a_format = format, .b_format = format};
    x.scale = acc.scale;
    if (x.scale) x.block = acc.other_block && below(2) ? acc.other_block : acc.block;
    elements(a_, tiles * rows, k, format);
    elements(b_, tiles * cols, k, format);
    if (below(3) == 0) cancel(k);
    const std::int64_t blocks = x.scale ? (k + x.block - 1) / x.block : 0;
    scales(a_scales_, tiles * rows * blocks, x.scale);
    scales(b_scales_, tiles * cols * blocks, x.scale);
    accumulators(acc, tiles * rows * cols);
    x.a = a_, x.b = b_, x.c = c_, x.a_scales = a_scales_, x.b_scales = b_scales_;
    return x;
  }
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(random_() % n); }

 private:
  std::uint64_t element(Format format, std::uint32_t kind) {
    const FormatInfo& f = info(format);
    const std::uint64_t any = random_() & ((std::uint64_t{1} << f.bits) - 1);
    if (kind == 0) return any;
    if (kind == 1 && below(4)) return any & (std::uint64_t{1} << (f.bits - 1));
    return code_of(
        std::ldexp(static_cast<float>(below(512)) - 256, static_cast<int>(below(kind == 2 ? 4 : 24)) - 12),
        format);
  }
  void elements(Codes& codes, std::int64_t rows, std::int64_t k, Format format) {
    codes.resize(static_cast<std::size_t>(rows * k));
    std::uint32_t kind = 0;
    for (std::size_t i = 0; i < codes.size(); ++i) {
      if (i % static_cast<std::size_t>(k) == 0) kind = below(8) ? 1 + below(3) : 0;
      codes[i] = element(format, kind);
    }
  }
  /// The second half of each row of A repeats the first, of B negates it.
  void cancel(std::int64_t k) {
    const auto row = static_cast<std::size_t>(k), half = row / 2;
    for (Codes* codes : {&a_, &b_})
      for (std::size_t i = 0; i < codes->size(); ++i)
        if (i % row >= half && i % row < 2 * half && below(16)) (*codes)[i] = (*codes)[i - half];
  }
  void scales(std::vector<std::uint8_t>& bytes, std::int64_t count, std::optional<Format> format) {
    bytes.resize(static_cast<std::size_t>(count));
    const std::uint32_t kind = below(4);
    for (std::uint8_t& byte : bytes) {
      const std::uint32_t middle = format == Format::e8m0 ? 120 : 48;
      byte = static_cast<std::uint8_t>(kind == 0   ? below(256)
                                       : kind == 1 ? middle + below(16)
                                       : below(2)  ? 0x7E
                                                   : below(10));
      if (format == Format::e8m0 && kind == 2) byte = static_cast<std::uint8_t>(80 + below(90));
    }
  }
  void accumulators(const Accumulation& acc, std::int64_t count) {
    c_.resize(static_cast<std::size_t>(count));
    for (std::uint64_t& code : c_) {
      const float value = std::ldexp(static_cast<float>(static_cast<std::int32_t>(random_())),
                                     -31 + static_cast<int>(below(60)) - 30);
      const bool fp16 = acc.out == Conversion::rne_fp16;
      code = below(4) == 0 ? 0 : fp16 ? code_of(value, Format::fp16) : bits(value);
      if (below(16) == 0) code = random_() & (fp16 ? 0xFFFF : 0xFFFFFFFF);
    }
  }

  std::mt19937_64 random_;
  Codes a_, b_, c_;
  std::vector<std::uint8_t> a_scales_, b_scales_;
};

inline std::vector<Format> elements_of(const Accumulation& acc) {
  if (acc.elements.empty())
    return {Format::e2m1, Format::e2m3, Format::e3m2, Format::e4m3,
            Format::e5m2, Format::bf16, Format::fp16, Format::tf32};
  return {acc.elements.begin(), acc.elements.end()};
}

}  // namespace adversary
