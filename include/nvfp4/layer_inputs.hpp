#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include <nvfp4/tensor.hpp>

namespace nvfp4 {

/// X (tokens, in), W (out, in) and dY (tokens, out) of a linear layer, BF16.
struct LayerInputs {
  Matrix x, w, dy;
};

/// What X is like; W and dY are standard normal, the same for every kind. Standard normal, too, is what X starts from:
///   gaussian        left so
///   heavy_tailed    Student's t with 3 degrees of freedom
///   hot_channels    one input channel in 32 is 32 times as large
///   mean_shifted    each input channel has a mean of its own, itself normal, of standard deviation 4
///   block_outliers  one element in four is an outlier, of magnitude 32/3 to 16: several in a block
std::span<const std::string_view> layer_input_kinds();

/// The same on every machine. Throws std::invalid_argument for an unknown kind.
LayerInputs make_layer_inputs(std::string_view kind, std::int64_t tokens, std::int64_t in, std::int64_t out,
                              std::uint64_t seed);

}  // namespace nvfp4
