#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <nvfp4/layout.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4 {

/// Why two results differ. Codes: swapped_nibbles, scale_layout, global_inverted, padding_only, inert_codes,
/// minus_zero, zero_blocks, random_stream, ties_only, other_dialect, other_block, transposed.
struct Diagnosis {
  std::string code, text;
};

/// A result as somebody stored it: `tensor` read in `layout` (of the expected shape and dialect unless its own
/// record says otherwise), `stored_scales` the bytes that were read. Empty: the tensor's scales as they are.
struct StoredTensor {
  const BlockScaledTensor& tensor;
  std::span<const std::uint8_t> stored_scales = {};
  ScaleLayout layout = ScaleLayout::linear;
};

/// The causes, each of which accounts for every difference of its array or of the whole; empty where nothing
/// known does, or nothing differs. With `input`, what was quantized, other dialects, blocks and orientations are
/// tried, and a tie has to be one.
std::vector<Diagnosis> diagnose(const BlockScaledTensor& expected, const StoredTensor& actual,
                                MatrixView input = {});

}  // namespace nvfp4
