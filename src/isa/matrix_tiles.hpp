#pragma once
#include <cstddef>
#include <cstdint>

#include "block_tiles.hpp"

/// The products of block_tiles.hpp on a machine's matrix unit, which multiplies 16 x 64 bytes by 64 bytes x 16: whole
/// panels of rows, each element already multiplied by its block scale.
namespace nvfp4::isa {

/// Rows of a panel. A step of one is two halves of 64 bytes a row, by 16 rows: [half][2][16][64]. Of the operand on
/// the right each of these [16][64] is transposed by fours of bytes.
inline constexpr int panel_rows = 32, tile_bytes = 16 * 64, half_bytes = 2 * tile_bytes,
                     panel_step_bytes = 2 * half_bytes;

/// Steps of one row to be looked through or packed. Pointers are to that row's first place.
struct PanelTask {
  const std::uint8_t* codes;    ///< 32 bytes a step
  const std::uint8_t* scales;   ///< a byte a group
  const ScaleFields* scale_of;  ///< each byte
  const float* value_of;        ///< the same; of a NaN 0
  int steps;
  int fraction_bits;  ///< of a doubled value times its scale's significand
  float* norms;       ///< a step: facts() raises it to the sum of (doubled value * weight)^2
  double* units;      ///< a step, panel_rows apart: facts() writes that of its digits
  std::byte* lines;   ///< steps panel_step_bytes apart
};

/// Two panels, `steps` steps of them.
struct PanelProduct {
  const std::byte *a, *b;
  const double *a_units, *b_units;  ///< of digits
  int steps;
  float* c;  ///< C, then D: [2][2][16][16]
};

/// A value times its scale has two forms, each exact. As BF16, a half of a line has 32 of them. As a whole number of its
/// row's unit in that step, below 2^15 in magnitude and 2^8 high + low, the halves are high and low.
struct MatrixTiles {
  /// A thread is inside for what follows, and rounds towards zero.
  void (*enter)();
  void (*leave)();
  PackFacts (*facts)(const PanelTask&);
  void (*pack_values)(const PanelTask&);
  void (*pack_digits)(const PanelTask&);
  void (*transpose)(std::byte* tile);
  /// D = truncated(C + S) where no bit is lost in alignment, nor in a sum of a step's products: those of values have 24
  /// bits, those of digits 31.
  void (*values)(const PanelProduct&);
  void (*digits)(const PanelProduct&);
};

/// Above this spread of exponents in a step a row has no digits: 15 * 12 * 2^7 < 2^15 - 2^7.
inline constexpr int most_digit_spread = 7;

}  // namespace nvfp4::isa
