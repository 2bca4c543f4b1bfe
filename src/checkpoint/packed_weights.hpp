#pragma once
#include "convention.hpp"

namespace nvfp4 {

/// The tensors of compressed-tensors and auto-round: P.weight_packed U8 (N, K/2); P.weight_scale F8_E4M3 (N, K/16),
/// linear; P.weight_global_scale F32 (1) and P.input_global_scale F32 (1), 2688 / amax, which divide. Of MXFP4
/// P.weight_packed and P.weight_scale U8 (N, K/32), E8M0.
std::vector<Weight> find_packed(const Checkpoint&);
StoredWeight load_packed(const Checkpoint&, const Weight&);
std::string packed_obstacle(const Weight&);
std::vector<OutputTensor> packed_parts(const Weight&);
std::vector<io::Bytes> store_packed(const StoredWeight&);

/// Ends of the names that only their loaders understand: of a weight's value, and others.
inline constexpr std::string_view packed_factors[] = {
    ".weight_packed",    ".weight_scale", ".weight_global_scale", ".weight_zero_point",
    ".weight_scale_inv", ".weight_shape", ".weight_g_idx"};
inline constexpr std::string_view packed_companions[] = {
    ".input_global_scale", ".input_scale", ".input_zero_point", ".output_scale", ".k_scale", ".v_scale"};

}  // namespace nvfp4
