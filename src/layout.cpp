#include <nvfp4/layout.hpp>

#include <array>
#include <stdexcept>
#include <string>

namespace nvfp4 {
namespace {

constexpr ScaleLayout layouts[] = {ScaleLayout::linear, ScaleLayout::tiled_128x4, ScaleLayout::tiled_8x4,
                                   ScaleLayout::interleaved_4_tokens};
constexpr std::string_view layout_names[] = {"linear", "128x4", "8x4", "4-token"};

constexpr std::int64_t round_up(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/// Calls visit(offset, linear index) for every scale.
template <class Visit>
void walk(ScaleLayout layout, std::int64_t rows, std::int64_t cols, Visit visit) {
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c) visit(offset(layout, r, c, cols), r * cols + c);
}

void expect_size(std::size_t found, std::int64_t expected) {
  if (found != static_cast<std::size_t>(expected))
    throw std::invalid_argument("expected " + std::to_string(expected) + " scale bytes, found " +
                                std::to_string(found));
}

/// The element of a group of 16 that nibble n (low nibble of byte 0 first) holds.
constexpr int element_at(Packing packing, int n) {
  switch (packing) {
    case Packing::low_first: return n;
    case Packing::high_first: return n ^ 1;
    case Packing::ggml: return n / 2 + (n % 2) * 8;
  }
  return n;
}

}  // namespace

std::span<const ScaleLayout> scale_layouts() { return layouts; }

std::optional<ScaleLayout> find_scale_layout(std::string_view its_name) {
  for (const ScaleLayout layout : layouts)
    if (name(layout) == its_name) return layout;
  return std::nullopt;
}

std::string_view name(ScaleLayout layout) { return layout_names[static_cast<int>(layout)]; }

ScaleExtent padded(ScaleLayout layout, std::int64_t rows, std::int64_t cols) {
  switch (layout) {
    case ScaleLayout::linear: return {rows, cols};
    case ScaleLayout::tiled_128x4: return {round_up(rows, 128), round_up(cols, 4)};
    case ScaleLayout::tiled_8x4: return {round_up(rows, 8), round_up(cols, 4)};
    case ScaleLayout::interleaved_4_tokens: return {round_up(rows, 4), cols};
  }
  return {rows, cols};
}

std::int64_t offset(ScaleLayout layout, std::int64_t r, std::int64_t c, std::int64_t cols) {
  const std::int64_t tiles_per_row = round_up(cols, 4) / 4;
  switch (layout) {
    case ScaleLayout::linear: return r * cols + c;
    // Tiles of 128x4 = 512 bytes, tiles of one row band in order of column. Inside, 32 rows apart lie side by
    // side: the tensor core's four lane groups each read 4 consecutive bytes. (PTX ISA, tcgen05 scale layout;
    // TE swizzle.cuh; CUTLASS SfAtom ((32,4),(16,4)):((16,4),(0,1)).)
    case ScaleLayout::tiled_128x4:
      return (r / 128 * tiles_per_row + c / 4) * 512 + r % 32 * 16 + r % 128 / 32 * 4 + c % 4;
    case ScaleLayout::tiled_8x4: return (r / 8 * tiles_per_row + c / 4) * 32 + r % 8 * 4 + c % 4;
    // Four tokens' scales of one column lie side by side. vLLM (csrc/libtorch_stable/nvfp4_kv_cache_kernels.cu,
    // swizzle_scale_offset) writes scale s of S of token t as scale s % (S / 4) * 4 + t % 4 of token
    // t / 4 * 4 + s / (S / 4), which is the same byte; FlashInfer's SM100 kernels read it at this one.
    case ScaleLayout::interleaved_4_tokens: return r / 4 * 4 * cols + c * 4 + r % 4;
  }
  return 0;
}

std::vector<std::uint8_t> to_layout(ScaleLayout layout, std::span<const std::uint8_t> linear,
                                    std::int64_t rows, std::int64_t cols) {
  expect_size(linear.size(), rows * cols);
  const ScaleExtent extent = padded(layout, rows, cols);
  std::vector<std::uint8_t> out(static_cast<std::size_t>(extent.rows * extent.cols));
  walk(layout, rows, cols, [&](std::int64_t tiled, std::int64_t flat) { out[tiled] = linear[flat]; });
  return out;
}

std::vector<std::uint8_t> from_layout(ScaleLayout layout, std::span<const std::uint8_t> bytes,
                                      std::int64_t rows, std::int64_t cols) {
  const ScaleExtent extent = padded(layout, rows, cols);
  expect_size(bytes.size(), extent.rows * extent.cols);
  std::vector<std::uint8_t> out(static_cast<std::size_t>(rows * cols));
  walk(layout, rows, cols, [&](std::int64_t tiled, std::int64_t flat) { out[flat] = bytes[tiled]; });
  return out;
}

void repack(std::span<std::uint8_t> codes, Packing from, Packing to) {
  if (codes.size() % 8) throw std::invalid_argument("packed codes come in groups of 16, 8 bytes");
  for (std::size_t group = 0; group < codes.size(); group += 8) {
    std::array<std::uint8_t, 16> element;
    for (int n = 0; n < 16; ++n) element[element_at(from, n)] = codes[group + n / 2] >> (n % 2 * 4) & 15;
    for (int byte = 0; byte < 8; ++byte)
      codes[group + byte] = static_cast<std::uint8_t>(element[element_at(to, 2 * byte)] |
                                                      element[element_at(to, 2 * byte + 1)] << 4);
  }
}

std::vector<std::uint8_t> to_ggml_blocks(std::span<const std::uint8_t> codes,
                                         std::span<const std::uint8_t> scales) {
  if (codes.size() % 32 || scales.size() != codes.size() / 8)
    throw std::invalid_argument("ggml's blocks are 32 bytes of codes with 4 scales");
  std::vector<std::uint8_t> ordered(codes.begin(), codes.end()), blocks;
  repack(ordered, Packing::low_first, Packing::ggml);
  for (std::size_t b = 0; b < ordered.size() / 32; ++b) {
    blocks.insert(blocks.end(), scales.begin() + 4 * b, scales.begin() + 4 * b + 4);
    blocks.insert(blocks.end(), ordered.begin() + 32 * b, ordered.begin() + 32 * b + 32);
  }
  return blocks;
}

}  // namespace nvfp4
