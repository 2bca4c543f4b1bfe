#include "gguf_blocks.hpp"

#include <nvfp4/layout.hpp>

namespace nvfp4 {
namespace {

constexpr std::size_t mx_codes = 16, mx_block = 1 + mx_codes;  // bytes
constexpr std::size_t nv_scales = 4, nv_codes = 32, nv_block = nv_scales + nv_codes;

std::uint8_t nibble(const std::uint8_t* codes, std::size_t i) { return codes[i / 2] >> (i % 2 * 4) & 15; }

CodesAndScales from_mx(std::span<const std::uint8_t> blocks) {
  CodesAndScales out;
  for (; !blocks.empty(); blocks = blocks.subspan(mx_block)) {
    out.scales.push_back(blocks[0]);
    const std::uint8_t* bytes = &blocks[1];
    for (std::size_t j = 0; j < mx_codes; ++j) {
      const bool high = j >= mx_codes / 2;  // elements 2 j and 2 j + 1
      const std::size_t first = 2 * j % mx_codes;
      const auto element = [&](std::size_t at) { return bytes[at] >> (high ? 4 : 0) & 15; };
      out.codes.push_back(static_cast<std::uint8_t>(element(first) | element(first + 1) << 4));
    }
  }
  return out;
}

std::vector<std::uint8_t> to_mx(std::span<const std::uint8_t> codes, std::span<const std::uint8_t> scales) {
  std::vector<std::uint8_t> blocks;
  for (std::size_t b = 0; b < scales.size(); ++b) {
    blocks.push_back(scales[b]);
    const std::uint8_t* block = &codes[b * mx_codes];
    for (std::size_t j = 0; j < mx_codes; ++j)
      blocks.push_back(static_cast<std::uint8_t>(nibble(block, j) | nibble(block, j + mx_codes) << 4));
  }
  return blocks;
}

CodesAndScales from_nv(std::span<const std::uint8_t> blocks) {
  CodesAndScales out;
  for (; !blocks.empty(); blocks = blocks.subspan(nv_block)) {
    out.scales.insert(out.scales.end(), blocks.begin(), blocks.begin() + nv_scales);
    out.codes.insert(out.codes.end(), blocks.begin() + nv_scales, blocks.begin() + nv_block);
  }
  repack(out.codes, Packing::ggml, Packing::low_first);
  return out;
}

}  // namespace

CodesAndScales from_ggml_blocks(Format scale, std::span<const std::uint8_t> blocks) {
  return scale == Format::e8m0 ? from_mx(blocks) : from_nv(blocks);
}

std::vector<std::uint8_t> to_ggml_blocks(Format scale, std::span<const std::uint8_t> codes,
                                         std::span<const std::uint8_t> scales) {
  return scale == Format::e8m0 ? to_mx(codes, scales) : to_ggml_blocks(codes, scales);
}

}  // namespace nvfp4
