#include "scale_order.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <nvfp4/layout.hpp>

namespace nvfp4 {
namespace {

constexpr std::int64_t sampled_rows = 2048;  ///< whole tiles: both orders stay within them

/// Of 37 matrices of a real encoder in a wrong order, 384 x 24 scales the smallest, 36 are at 10.6 deviations or more, and
/// one shows nothing; those in the right order, and noise, are below 3.
constexpr double deviations_needed = 8, gain_needed = 0.02;

struct Variance {
  double total = 0, explained = 0;
};

/// Sums of squares about the mean: all, and what row means and column means make of it.
Variance variance(std::span<const std::uint8_t> scales, std::int64_t rows, std::int64_t cols) {
  std::vector<std::int64_t> row(static_cast<std::size_t>(rows)), column(static_cast<std::size_t>(cols));
  std::int64_t sum = 0, squares = 0;
  for (std::size_t i = 0; i < row.size(); ++i)
    for (std::size_t j = 0; j < column.size(); ++j) {
      const std::int64_t x = scales[i * column.size() + j] & 0x7F;  // nearly the logarithm of the scale
      row[i] += x, column[j] += x, sum += x, squares += x * x;
    }
  const double all = static_cast<double>(rows * cols), mean = static_cast<double>(sum) / all;
  Variance v{.total = static_cast<double>(squares) - all * mean * mean};
  for (const std::int64_t s : row) {
    const double off = static_cast<double>(s) / static_cast<double>(cols) - mean;
    v.explained += static_cast<double>(cols) * off * off;
  }
  for (const std::int64_t s : column) {
    const double off = static_cast<double>(s) / static_cast<double>(rows) - mean;
    v.explained += static_cast<double>(rows) * off * off;
  }
  return v;
}

}  // namespace

std::optional<ScaleOrder> better_order(std::span<const std::uint8_t> scales, std::int64_t rows,
                                       std::int64_t cols) {
  if (rows == 0 || rows % 128 || cols % 4 || cols <= 4) return std::nullopt;
  rows = std::min(rows, sampled_rows);
  const auto sample = scales.first(static_cast<std::size_t>(rows * cols));
  const Variance now = variance(sample, rows, cols);
  const double parameters = static_cast<double>(rows + cols - 2),
               freedom = static_cast<double>((rows - 1) * (cols - 1));
  std::optional<ScaleOrder> best;
  for (const Reorder reorder : {Reorder::from_128x4, Reorder::to_128x4}) {
    const auto other = reorder == Reorder::from_128x4
                           ? from_layout(ScaleLayout::tiled_128x4, sample, rows, cols)
                           : to_layout(ScaleLayout::tiled_128x4, sample, rows, cols);
    const Variance then = variance(other, rows, cols);
    const double rest = (then.total - then.explained) / freedom, gain = then.explained - now.explained;
    if (!(gain > gain_needed * then.total)) continue;
    const double deviations = gain / (std::max(rest, 1e-9) * 2 * std::sqrt(parameters));
    if (deviations > deviations_needed && (!best || deviations > best->deviations))
      best = {reorder, deviations, now.explained / now.total, then.explained / then.total};
  }
  return best;
}

}  // namespace nvfp4
