#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "accumulator.hpp"
#include "code_rows.hpp"
#include "isa/isa.hpp"
#include "panels.hpp"

/// Operands of Summation::aligned, taken apart once, and what one step makes of them.
namespace nvfp4::cpu {

/// Below every exponent, and two of it still fit 16 bits.
inline constexpr int never_largest = -8000;

/// e_max of terms that are all absent.
constexpr int lowest_exponent(const Accumulation& acc) {
  return acc.zero_rule == ZeroRule::never ? never_largest : acc.zero_exponent;
}

/// x / 2^right, as a term below e_max - F is cut.
inline std::int64_t cut(std::int64_t x, int right, AlignRounding rounding) {
  if (right <= 0) return x << -right;
  if (rounding == AlignRounding::floor) return x >> std::min(right, 62);
  const std::int64_t magnitude = shifted(x < 0 ? -x : x, right, rounding == AlignRounding::nearest_even);
  return x < 0 ? -magnitude : magnitude;
}

/// Align::product: scales are multiplied into significands and added to exponents, which is exact.
struct ProductRows {
  ProductRows(const CodeRows&, std::int64_t padded_k, const Accumulation&);

  std::int64_t k, step;
  int fraction_bits;  ///< of every significand
  std::vector<std::int16_t> significand, exponent;
  std::vector<std::uint8_t> kind;     ///< is_infinite | is_nan | is_negative
  std::vector<std::uint8_t> special;  ///< a step: whether one is infinite or NaN
  std::vector<std::uint8_t> finite;   ///< a row: whether no step is special
  static constexpr std::uint8_t is_infinite = 1, is_nan = 2, is_negative = 4;
};

/// A code's significand and exponent, as the format's fields say: nothing is normalised. A kind is that of ProductRows.
struct Unpacked {
  int significand, exponent;
  std::uint8_t kind;
};
Unpacked unpack_code(std::uint32_t code, const FormatInfo&);

/// Align::group, of E2M1: doubled values, and the scales apart.
struct GroupRows {
  GroupRows(const CodeRows&, std::int64_t padded_k, const Accumulation&);

  std::int64_t k, step, group;
  int fraction_bits;  ///< of a doubled value times its scale's significand
  std::vector<std::int16_t> doubled;
  std::vector<std::uint64_t> nonzero, negative;  ///< a bit an element; none is nonzero under a zero scale
  std::vector<std::int16_t> scale, exponent;     ///< a group
  std::vector<std::uint8_t> special;             ///< a step: whether a scale is NaN
  std::vector<std::uint8_t> finite;              ///< a row: whether no step is special
};

/// One chain of aligned steps over a row of each.
template <class Rows>
struct AlignedChain {
  const Rows &a, &b;
  const Accumulation& acc;
  std::int64_t i, j;

  /// The accumulator after step s, from code c.
  std::uint32_t step(std::int64_t s, std::uint32_t c) const;
};

/// Align::product, tiles at a time.
class ProductTiles {
 public:
  /// Null where they do not cover this model.
  static std::optional<ProductTiles> of(const ProductRows& a, const ProductRows& b, const Accumulation&);
  /// D of a tile, isa::panel numbers a row.
  void sum(const isa::Tiles&, const Tile&, float* out) const;
  /// Whether D is right at row i of a and j of b.
  bool hold(std::int64_t i, std::int64_t j) const;

 private:
  ProductTiles(const ProductRows& a, const ProductRows& b, const Accumulation&);

  const ProductRows &a_, &b_;
  const Accumulation& acc_;
  std::vector<float> significand_, panel_significand_;
  std::vector<std::int32_t> exponent_, panel_exponent_;
};

/// Row i of a against `count` rows of b from `first`, all steps, from and to `codes`. False, with nothing done, where
/// the loops of an instruction set do not cover this model or these numbers.
bool run_chains(const isa::Table&, const GroupRows& a, std::int64_t i, const GroupRows& b, std::int64_t first,
                std::int64_t count, const Accumulation&, std::uint32_t* codes);

extern template struct AlignedChain<ProductRows>;
extern template struct AlignedChain<GroupRows>;

}  // namespace nvfp4::cpu
