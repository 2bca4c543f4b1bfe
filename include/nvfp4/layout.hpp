#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

/// How codes and scales lie in memory at the library's edge. Inside there is one layout: row-major,
/// linear, even column in the low nibble.
namespace nvfp4 {

/// Order of block-scale bytes. The tiled layouts pad rows to 128 (or 8) and scale columns to 4, interleaved
/// tokens pad rows to 4; padding bytes are 0. A cache of shape (pages, heads, tokens, head_dim), tokens a
/// multiple of 4, is one matrix of rows of head_dim.
enum class ScaleLayout : std::uint8_t {
  linear,
  tiled_128x4,           ///< cuBLASLt, CUTLASS, TE, FlashInfer: offset of (r, c) in layout.cpp
  tiled_8x4,             ///< TensorRT-LLM's small-M layout: 8x4 tiles, row-major inside
  interleaved_4_tokens,  ///< V of a KV cache for SM100's trtllm-gen kernels (vLLM, FlashInfer; K is linear)
};

/// Which nibble holds which element.
enum class Packing : std::uint8_t {
  low_first,   ///< byte j = element 2j | element 2j+1 << 4: everybody but ggml
  high_first,  ///< nibbles swapped
  ggml,        ///< in each group of 16, byte j = element j | element j+8 << 4
};

std::optional<ScaleLayout> find_scale_layout(std::string_view name);  ///< "linear", "128x4", "8x4", "4-token"
std::string_view name(ScaleLayout);
std::span<const ScaleLayout> scale_layouts();  ///< all there are

struct ScaleExtent {
  std::int64_t rows, cols;
  friend bool operator==(const ScaleExtent&, const ScaleExtent&) = default;
};

/// The padded extent of `rows` x `cols` scales; their bytes are its product.
ScaleExtent padded(ScaleLayout, std::int64_t rows, std::int64_t cols);

/// Byte offset of scale (row, col) in a buffer of `cols` unpadded scale columns.
std::int64_t offset(ScaleLayout, std::int64_t row, std::int64_t col, std::int64_t cols);

std::vector<std::uint8_t> to_layout(ScaleLayout, std::span<const std::uint8_t> linear, std::int64_t rows,
                                    std::int64_t cols);
/// The inverse; padding is dropped. Throws std::invalid_argument where the size is not the padded extent's.
std::vector<std::uint8_t> from_layout(ScaleLayout, std::span<const std::uint8_t> bytes, std::int64_t rows,
                                      std::int64_t cols);

/// ggml's own bytes, block_nvfp4: for each 64 elements 4 scales, then their 32 bytes of codes in its packing.
/// `codes` low nibble first; their number must be a multiple of 32 bytes, with a scale for each 8.
std::vector<std::uint8_t> to_ggml_blocks(std::span<const std::uint8_t> codes,
                                         std::span<const std::uint8_t> scales);

/// Re-orders packed codes in place from one packing to another; the size must be a multiple of 8 bytes.
void repack(std::span<std::uint8_t> codes, Packing from, Packing to);

}  // namespace nvfp4
