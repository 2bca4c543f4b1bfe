#pragma once
#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>

#include <nvfp4/accumulation.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4 {

/// What `tiles` independent matrix instructions, or chains of them, take. One code an element, never packed; k
/// runs along the rows of a and of b. C and D are codes of the accumulator: FP32, FP16, or FP64 as everything
/// under Summation::fp64_fma.
struct MmaOperands {
  std::int64_t tiles = 1, rows = 1, cols = 1, k = 0;
  Format a_format = Format::e2m1, b_format = Format::e2m1;
  std::optional<Format> scale{};                 ///< ue4m3 (bit 7 is ignored) or e8m0
  int block = 0;                                 ///< elements that share a scale
  std::span<const std::uint64_t> a{}, b{}, c{};  ///< tiles x rows x k, tiles x cols x k, tiles x rows x cols
  std::span<const std::uint8_t> a_scales{}, b_scales{};  ///< tiles x rows (or cols) x ceil(k / block)
};

/// Instructions that a chain over k takes.
constexpr std::int64_t instructions(const Accumulation& acc, std::int64_t k) {
  return (k + acc.k - 1) / acc.k;
}

/// Throws std::invalid_argument where the model does not take these formats.
inline void validate(const Accumulation& acc, Format a, Format b, std::optional<Format> scale, int block) {
  const std::string name(acc.name);
  const auto fail = [&](const std::string& what) { throw std::invalid_argument(name + ": " + what); };
  for (const Format f : {a, b})
    if (!acc.elements.empty() && std::ranges::find(acc.elements, f) == acc.elements.end())
      fail("takes no " + std::string(info(f).name) + " elements");
  if (acc.step < 1 || acc.group < 1 || acc.step % acc.group || acc.k % acc.step || acc.fraction_bits > 40)
    fail("a step must be whole groups, an instruction whole steps, and at most 40 fraction bits kept");
  const bool grouped = acc.align == Align::group, e2m1 = a == Format::e2m1 && b == Format::e2m1;
  if (grouped && (!e2m1 || !scale || acc.group > 64 || acc.step / acc.group > 64))
    fail("groups are of e2m1 elements with block scales: at most 64 groups of 64");
  if (grouped && acc.k_order != KOrder::ascending) fail("groups take k in order");
  if (takes_all(acc)) return;
  if (scale && block % acc.group) fail("groups must lie within blocks");
  if (acc.scale != scale)
    fail(acc.scale ? "takes elements with " + std::string(info(*acc.scale).name) + " block scales"
                   : "takes no block scales");
  if (scale && block != acc.block && block != acc.other_block)
    fail("takes a block scale for each " + std::to_string(acc.block) + " elements" +
         (acc.other_block ? " or " + std::to_string(acc.other_block) : "") + ", not " +
         std::to_string(block));
}

inline void validate(const Accumulation& acc, const MmaOperands& x) {
  if (acc.sum == Summation::fp64_fma && x.scale)
    throw std::invalid_argument(std::string(acc.name) + ": takes no block scales");
  if (acc.sum != Summation::fp64_fma) validate(acc, x.a_format, x.b_format, x.scale, x.block);
  const auto blocks = x.scale ? (x.k + x.block - 1) / x.block : 0;
  const auto holds = [&](auto span, std::int64_t rows, std::int64_t cols) {
    return static_cast<std::int64_t>(span.size()) == x.tiles * rows * cols;
  };
  if (!holds(x.a, x.rows, x.k) || !holds(x.b, x.cols, x.k) || !holds(x.c, x.rows, x.cols) ||
      !holds(x.a_scales, x.rows, blocks) || !holds(x.b_scales, x.cols, blocks))
    throw std::invalid_argument("operands of a matrix instruction must have the sizes of its shape");
}

inline void validate(const Accumulation& acc, const BlockScaledTensor& a, const BlockScaledTensor& b) {
  if (acc.sum == Summation::fp64_fma)
    throw std::invalid_argument(std::string(acc.name) + ": takes FP64 elements");
  if (a.cols != b.cols)
    throw std::invalid_argument("a product contracts the columns of both: they must be as many");
  const Dialect &da = *a.spec.dialect, &db = *b.spec.dialect;
  if (a.spec.block.cols != b.spec.block.cols || da.scale != db.scale)
    throw std::invalid_argument("the operands of a product must have block scales of one format and width");
  validate(acc, da.element, db.element, da.scale, a.spec.block.cols);
}

/// The element format that dense operands take under this model; none: FP32 as it is.
inline std::optional<Format> dense_format(const Accumulation& acc, MatrixView a, MatrixView b) {
  if (a.cols != b.cols)
    throw std::invalid_argument("a product contracts the columns of both: they must be as many");
  if (takes_all(acc)) return std::nullopt;
  if (acc.scale || acc.elements.size() != 1)
    throw std::invalid_argument(std::string(acc.name) + ": takes no dense operands of one element format");
  return acc.elements[0];
}

}  // namespace nvfp4
