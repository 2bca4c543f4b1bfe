#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <nvfp4/quantize.hpp>
#include <nvfp4/tensor.hpp>

/// How far a matrix is from one that quantizes well: the diagnostics of CHON (arXiv 2602.02047), and max / P99.9 of
/// "Diagnosing FP4 inference" (arXiv 2603.08747). All arithmetic is binary64, element after element in the order of rows, so
/// that results depend on no thread count. Where the papers leave a definition open, it is ours. All throw
/// std::invalid_argument for an element that is not finite.
namespace nvfp4 {

/// n sum (x - mean)^4 / (sum (x - mean)^2)^2, of the population: 3 for Gaussian data, not 0. In two passes, the mean first.
/// NaN where all elements are equal, or there are none.
double kurtosis(MatrixView);

/// The k largest |x|, or all where there are fewer, descending.
std::vector<float> top_magnitudes(MatrixView, std::int64_t k);

/// max |x| / sqrt(mean of x^2) of each 1x16 block, rows x blocks: 1 where all magnitudes are equal, 4 where one element stands
/// alone. A row's last block has the elements that there are. 0 for a block of zeros.
std::vector<double> block_spikes(MatrixView);

/// The share of the nonzero elements that dequantize to zero (FTZ): of codes 0, or under a block scale of 0. 0 where there
/// are none.
double flush_to_zero_rate(MatrixView, const QuantizeSpec&);

/// max |x| over the 99.9th percentile of |x|, the smallest magnitude that no fewer than 99.9 % of the elements do not exceed.
/// NaN where that is 0 and so is the maximum, or there are no elements.
double max_over_p999(MatrixView);

/// The k channels of the largest scores, or all where there are fewer, ascending; of equal scores the lower channel goes
/// first. No score is a NaN.
std::vector<std::int64_t> top_channels(std::span<const double> scores, std::int64_t k);

/// The channels that are in both sets, ascending: of two hot sets one after the other, those that stayed.
std::vector<std::int64_t> persistent(std::span<const std::int64_t> before,
                                     std::span<const std::int64_t> after);

}  // namespace nvfp4
