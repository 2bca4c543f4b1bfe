#pragma once
#include <optional>
#include <string>

#include <nvfp4/tensor.hpp>

namespace nvfp4 {

/// By which other random bits `actual` was rounded, if its scales are those of `expected`, which was rounded
/// stochastically, and each differing code is the other neighbour. With the input, others are tried: byte maps, rules,
/// rounds, streams, shifts of a few rows or blocks, and rounding to nearest.
std::optional<std::string> random_story(const BlockScaledTensor& expected, const BlockScaledTensor& actual,
                                        MatrixView input);

}  // namespace nvfp4
