#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <nvfp4/tensor.hpp>

#include "isa/block_tiles.hpp"
#include "kept_memory.hpp"

/// Rows of block-scaled E2M1 operands in steps of isa::step_k, as all packed forms begin.
namespace nvfp4::cpu {

/// Steps that are read together.
inline constexpr std::int64_t part_steps = 8;

template <class T>
using Lines = std::vector<T, KeptMemory<T>>;

/// A part of a row, padded with zeros to whole steps: where the tensor has it so, or a copy. Rows beyond the last are zeros.
struct RowWindow {
  const std::uint8_t *codes, *scales;  ///< two elements a byte, a group a byte

  RowWindow(const BlockScaledTensor&, std::int64_t row, std::int64_t first_step);
  RowWindow(const RowWindow&) = delete;
  RowWindow& operator=(const RowWindow&) = delete;

 private:
  void copy(const BlockScaledTensor&, std::int64_t row, std::int64_t first, std::int64_t count);
  std::uint8_t own_codes_[part_steps * isa::step_k / 2], own_scales_[part_steps * isa::step_groups];
};

/// Of each byte.
struct ScaleCodes {
  explicit ScaleCodes(Format);
  std::array<isa::ScaleFields, 256> fields{};
  std::array<float, 256> values{};  ///< of a NaN 0
};

/// What decides whether alignment cuts a bit of some rows. Exponents are those of scales that multiply a nonzero value.
struct RowExtent {
  int least = 1000, largest = -1000;  ///< exponents
  int square = -2000;                 ///< a row's sum of value^2 is less than 2 to that

  RowExtent() = default;
  explicit RowExtent(const isa::PackFacts& facts) : least(facts.least), largest(facts.largest) {}
  void add_square(double of_a_row);
  void extend(const RowExtent&);
};

/// Whether alignment to F fraction bits cuts no bit of a group's sum, a multiple of 2^(least - f), nor of C, a sum of them,
/// `kept` being F - f: e_max is at most the least exponent + kept, of groups by their exponents, of C by its norm, which
/// bounds it at every step.
bool loses_nothing(const RowExtent& a, const RowExtent& b, int kept);

/// NaN in the rows and columns of `out` that have a NaN scale.
void put_nans(Matrix& out, const std::vector<std::uint8_t>& rows, const std::vector<std::uint8_t>& columns);

}  // namespace nvfp4::cpu
