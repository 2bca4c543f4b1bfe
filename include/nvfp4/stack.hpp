#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <nvfp4/kernels.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4 {

/// Expert `expert` of `experts` matrices of one shape, one above another in memory. x.rows must be a multiple
/// of `experts`.
MatrixView expert_of(MatrixView x, std::int64_t experts, std::int64_t expert);

/// Each expert by itself, with second-level scales of its own. Throws std::invalid_argument where the rows do
/// not divide, for QuantizeSpec::amax (one amax is not one for each expert), and as Kernels::quantize does.
std::vector<BlockScaledTensor> quantize_stack(MatrixView x, std::int64_t experts, const QuantizeSpec&,
                                              const Kernels&);

/// The experts' values, one above another; `experts` is not empty and of one shape.
Matrix dequantize_stack(std::span<const BlockScaledTensor> experts, const Kernels&);

}  // namespace nvfp4
