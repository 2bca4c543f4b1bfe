#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nvfp4/io.hpp>
#include <nvfp4/kernels.hpp>
#include <nvfp4/producers.hpp>

namespace nvfp4::cli {

/// One array of a golden case, named as in tests/golden/README.md.
struct GoldenArray {
  io::ArrayInfo info;
  std::vector<std::byte> bytes;
};

/// packed, scales, global, dequant, and col_packed, col_scales, col_global where there are columns.
std::vector<GoldenArray> golden_arrays(const ProducerResult&, const Kernels&);

/// "transformed": what the producer's Hadamard transform hands to its quantizer, widened to float32.
GoldenArray transformed_array(const Producer&, MatrixView, const Kernels&);

/// What only some producers' files have: scales_swizzled (128x4, any shape of that size), scale_before_cast,
/// dequant_bf16_as_f32, blocks.
std::vector<GoldenArray> arrays_of_some(const ProducerResult&, const Kernels&);

/// "(32, 64)"
std::string shape_text(std::span<const std::int64_t>);

}  // namespace nvfp4::cli
