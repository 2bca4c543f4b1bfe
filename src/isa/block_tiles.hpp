#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

/// A product of block-scaled E2M1 operands in tiles of `block_tile_rows` rows of a by BlockTiles::cols rows of b, in steps of
/// four groups of 16 as kind::mxf4nvf4 takes them.
namespace nvfp4::isa {

inline constexpr int block_tile_rows = 4, step_groups = 4, group_size = 16, step_k = step_groups * group_size;

/// Twice the value of each E2M1 code.
inline constexpr std::int8_t doubled_e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// What stands for `n` rows of one operand, a step after the other. The groups of a step come as two pairs; in a pair,
/// every quantity of a group is [row][2].
struct BlockOperand {
  /// Doubled elements, of b 12 more, so that they have no sign: a pair is [k][row][2][BlockTiles::run], k by runs.
  const std::uint8_t* values;
  const std::int16_t* weights;  ///< scale significand * 2^(exponent - the least of the row's step)
  const float* units;           ///< [row], 2^(that least exponent - fraction bits)
  /// For BlockTiles::full alone. Exponents are biased, so that those of a and b add up to an FP32 number's; `nonzero` has a
  /// bit an element.
  const std::int16_t *significands, *exponents;
  const std::uint16_t* nonzero;
};

struct BlockTask {
  BlockOperand a, b;
  const std::byte* offsets;  ///< of a: -12 times a group's sum, BlockTiles::run bytes each
  int steps;
  int fraction_bits;  ///< of a group's sum
  int above;          ///< 52 - F: a binary64 so far above e_max has its last bit at e_max - F
  float* c;           ///< block_tile_rows x BlockTiles::cols: C, then D
};

/// What the 32 bytes of a step's codes say.
struct StepCodes {
  alignas(64) std::uint8_t
      values[step_k];  ///< doubled elements + offset: pairs of [k][2][BlockTiles::run], k by runs
  alignas(16) std::byte offsets[4 * step_groups];  ///< -12 times a group's sum, BlockTiles::run bytes each
  alignas(16) std::int32_t squares[step_groups];   ///< sums of a group's doubled elements' squares
  std::uint16_t nonzero[step_groups];              ///< a bit an element
};

/// A block scale, as its fields say; NaN stands as 0 of nan_exponent.
struct ScaleFields {
  std::int16_t significand, exponent;
};
inline constexpr std::int16_t nan_exponent = 0x7FFF;

/// A step's scales. Exponents and weights are of those that multiply a nonzero value.
struct StepScales {
  std::int16_t weights[step_groups];
  int least = 1000, largest = -1000;  ///< exponents
  double norm = 0;  ///< sum of (doubled value * weight)^2, also of a spread whose weights have no room
  bool has_nan = false;
};

/// Above this spread of exponents weights have no room in 16 bits.
inline constexpr int most_spread = 11;

/// Steps of one row to be packed. Pointers are to that row's first place; the next of each quantity is a tile on.
struct PackTask {
  const std::uint8_t* codes;        ///< 32 bytes a step
  const std::uint8_t* scales;       ///< a byte a group
  const ScaleFields* scale_of;      ///< each byte
  int steps, rows;                  ///< rows: of a tile
  int value_offset, fraction_bits;  ///< of a doubled value times its scale's significand
  std::uint8_t* values;
  std::int16_t* weights;
  std::byte* offsets;  ///< null: none
  float* units;
};

/// Of some steps, as in StepScales.
struct PackFacts {
  int spread = 0;                     ///< the largest difference of exponents in one step
  double norm = 0;                    ///< the largest sum of (doubled value * weight)^2 of one step
  int least = 1000, largest = -1000;  ///< exponents
  double square = 0;                  ///< sum of value^2
  bool has_nan = false;
};

/// One instruction set's tiles.
struct BlockTiles {
  int cols;
  int run;                            ///< successive k of one group in a lane
  std::array<std::uint8_t, 32> lane;  ///< of each column in a run of `values`
  void (*unpack)(const std::uint8_t* codes, int offset, StepCodes&);
  PackFacts (*pack)(const PackTask&);
  /// These and `full` are called while this thread rounds towards zero.
  /// Where no bit is lost in alignment and S = sum of weights[a] * weights[b] * dot fits 32 bits:
  /// D = truncated(C + units * S). By whether a product of weights may pass 16 bits, and whether S may pass the 24 of
  /// FP32.
  std::array<std::array<void (*)(const BlockTask&), 2>, 2> sums;
  /// Any: terms are cut to e_max - F one by one.
  void (*full)(const BlockTask&);
};

const BlockTiles& portable_block_tiles();
const BlockTiles& avx2_block_tiles();
const BlockTiles& avx512_block_tiles();  ///< avx2's where the machine has no VNNI

}  // namespace nvfp4::isa
