#pragma once
#include <string>

#include <nvfp4/tensor.hpp>

namespace nvfp4::cli {

/// The `nvfp4 explain` line that walks through element (row, col) of `input` as `spec` quantizes it.
/// tensor_amax: the second-level scale that the block sees.
std::string explain_command(MatrixView input, const QuantizeSpec& spec, std::int64_t row, std::int64_t col,
                            float tensor_amax);

/// Whether a NaN makes every maximum of the dialect NaN; else maxima drop it.
bool nan_poisons(const Dialect&);

/// Element (row, col), widened to FP32.
float element(MatrixView, std::int64_t row, std::int64_t col);

}  // namespace nvfp4::cli
