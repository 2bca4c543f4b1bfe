#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include <nvfp4/tensor.hpp>

#include "isa/block_tiles.hpp"
#include "step_rows.hpp"

namespace nvfp4::cpu {

/// How one of a tile's operands is packed.
struct PackedAs {
  const isa::BlockTiles& tiles;
  int rows;  ///< of a tile
  int value_offset, exponent_offset;
  bool by_lane;  ///< rows stand where BlockTiles::lane says, else in order
};

/// A block-scaled E2M1 operand as isa::BlockTiles reads it, K and the last tile padded with zeros, and what decides how a
/// tile may be computed. NaN scales stand as 0. Exponents are those of scales that multiply a nonzero value.
struct PackedRows {
  PackedRows(const BlockScaledTensor&, const PackedAs&);

  /// Of a tile's rows in part_steps steps, which one way computes (isa::BlockTiles).
  struct Part {
    int spread = 0;   ///< the largest difference of exponents in one step of one row
    double norm = 0;  ///< the largest sum of (doubled value * weight)^2 of one step of one row
    void extend(const Part&);
  };

  PackedAs as;
  std::int64_t rows, tiles, steps, parts;
  int fraction_bits;                  ///< of a doubled value times its scale's significand
  std::vector<Part> part;             ///< tiles x parts
  std::vector<RowExtent> whole;       ///< tiles
  std::vector<std::uint8_t> has_nan;  ///< a row: whether a scale of it is NaN

  /// What no tile exceeds.
  Part worst_part() const;
  RowExtent worst_whole() const;

  /// What BlockTiles::full reads besides.
  void add_model(const BlockScaledTensor&);

  isa::BlockOperand at(std::int64_t tile, std::int64_t step) const;
  const std::byte* offsets_at(std::int64_t tile, std::int64_t step) const;

 private:
  void pack(const BlockScaledTensor&, std::int64_t tile, const ScaleCodes&);
  isa::PackFacts pack(const RowWindow&, std::int64_t row, std::int64_t part, const ScaleCodes&);
  void add_model(const RowWindow&, std::int64_t row, std::int64_t part, const ScaleCodes&);
  /// Where a row's quantities of a step's first pair of groups stand, [pair][row][2].
  std::size_t place(std::int64_t row, std::int64_t step) const;
  template <class Use>
  void each_tile(Use) const;
  int steps_of(std::int64_t part) const;

  Lines<std::uint8_t> values_;
  Lines<std::byte> offsets_;  ///< -12 times a group's sum, for an operand whose values are signed
  Lines<std::int16_t> weights_, significands_, exponents_;
  Lines<std::uint16_t> nonzero_;
  Lines<float> units_;
};

}  // namespace nvfp4::cpu
