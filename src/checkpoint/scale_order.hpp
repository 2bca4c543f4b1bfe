#pragma once
#include <cstdint>
#include <optional>
#include <span>

namespace nvfp4 {

/// What would put scales into an order that makes more of their rows and columns.
enum class Reorder : std::uint8_t {
  from_128x4,  ///< they are in the 128x4 layout, and were taken as linear
  to_128x4,    ///< they were linear, and were taken out of the 128x4 layout
};

struct ScaleOrder {
  Reorder reorder;
  double deviations;                ///< standard deviations of what chance would give
  double explained_now, explained;  ///< shares of the codes' variance, as they lie and reordered
};

/// Block scales of real weights follow their rows and columns: rows and input channels are larger or smaller as a
/// whole. An additive model of row means and column means has as many parameters in any order of the same codes, so the
/// order in which it explains more is the right one: none where the codes show nothing, as those of Gaussian noise do,
/// and where the layouts' sizes differ or one tile is a whole row (then sizes or nothing tell them apart).
std::optional<ScaleOrder> better_order(std::span<const std::uint8_t> scales, std::int64_t rows,
                                       std::int64_t cols);

}  // namespace nvfp4
