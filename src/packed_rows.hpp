#pragma once
#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include <nvfp4/tensor.hpp>

#include "aligned.hpp"
#include "isa/block_tiles.hpp"

namespace nvfp4::cpu {

/// Steps that choose one way to compute (isa::BlockTiles), and whose operands stay in cache.
inline constexpr std::int64_t part_steps = 8;

/// Begins a cache line, so that no vector of it lies in two, and is written before it is read: it begins without values.
template <class T>
struct CacheLines {
  using value_type = T;
  CacheLines() = default;
  template <class U>
  CacheLines(const CacheLines<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), alignment)); }
  void deallocate(T* x, std::size_t) { ::operator delete(x, alignment); }
  template <class U>
  void construct(U*) {}
  bool operator==(const CacheLines&) const = default;
  static constexpr std::align_val_t alignment{64};
};
template <class T>
using Lines = std::vector<T, CacheLines<T>>;

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

  /// Of a tile's rows in part_steps steps.
  struct Part {
    int spread = 0;   ///< the largest difference of exponents in one step of one row
    double norm = 0;  ///< the largest sum of (doubled value * weight)^2 of one step of one row
    void extend(const Part&);
  };
  /// Of a tile's rows.
  struct Whole {
    int least = 1000, largest = -1000;  ///< exponents
    int square = -2000;                 ///< a row's sum of value^2 is less than 2 to that
    void extend(const Whole&);
  };

  PackedAs as;
  std::int64_t rows, tiles, steps, parts;
  int fraction_bits;                  ///< of a doubled value times its scale's significand
  std::vector<Part> part;             ///< tiles x parts
  std::vector<Whole> whole;           ///< tiles
  std::vector<std::uint8_t> has_nan;  ///< a row: whether a scale of it is NaN

  /// What no tile exceeds.
  Part worst_part() const;
  Whole worst_whole() const;

  /// What BlockTiles::full reads besides.
  void add_model(const BlockScaledTensor&);

  isa::BlockOperand at(std::int64_t tile, std::int64_t step) const;
  const std::byte* offsets_at(std::int64_t tile, std::int64_t step) const;

 private:
  struct Scales;
  struct Window;
  void pack(const BlockScaledTensor&, std::int64_t tile, const Scales&);
  isa::PackFacts pack(const Window&, std::int64_t row, std::int64_t part, const Scales&);
  void add_model(const Window&, std::int64_t row, std::int64_t part, const Scales&);
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
