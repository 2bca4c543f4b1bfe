#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "isa/matrix_tiles.hpp"
#include "step_rows.hpp"

namespace nvfp4::cpu {

enum class Side { left, right };

/// A block-scaled E2M1 operand as isa::MatrixTiles reads it, K and the last panel padded with zeros, and what decides how a
/// product of two panels may be computed. NaN scales stand as 0.
class MatrixRows {
 public:
  MatrixRows(const isa::MatrixTiles&, const BlockScaledTensor&, Side);

  std::int64_t rows, panels, steps;
  int fraction_bits;                  ///< of a doubled value times its scale's significand
  std::vector<RowExtent> extent;      ///< panels
  std::vector<int> spread;            ///< panels: the largest difference of exponents in one step of one row
  std::vector<std::uint8_t> has_nan;  ///< a row: whether a scale of it is NaN

  /// A step: the largest sum of squares of one of the panel's rows, each in that row's own unit.
  const float* norms(std::int64_t panel) const { return norms_.data() + panel * steps; }

  /// Elements from now on as values, or as digits.
  void pack_values();
  void pack_digits();

  const std::byte* at(std::int64_t panel, std::int64_t step) const {
    return lines_.data() + (panel * steps + step) * isa::panel_step_bytes;
  }
  /// Of digits.
  const double* units_at(std::int64_t panel, std::int64_t step) const {
    return units_.data() + (panel * steps + step) * isa::panel_rows;
  }

 private:
  using Pack = void (*)(const isa::PanelTask&);
  template <class Use>
  void each_part(std::int64_t panel, Use);
  void learn(std::int64_t panel);
  void pack(Pack);

  const isa::MatrixTiles& tiles_;
  const BlockScaledTensor& tensor_;
  Side side_;
  ScaleCodes scales_;
  Lines<std::byte> lines_;
  std::vector<float> norms_;
  Lines<double> units_;
};

}  // namespace nvfp4::cpu
