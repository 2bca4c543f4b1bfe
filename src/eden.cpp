#include "eden.hpp"

#include <vector>

#include "float_environment.hpp"
#include "quantize.hpp"
#include "stochastic.hpp"

namespace nvfp4::cpu {
namespace {

/// Word 0 of each block's draw.
void first_words(const isa::Table& isa, const RandomBits& bits, std::int64_t row, std::int64_t blocks,
                 std::uint32_t* out) {
  std::vector<std::uint32_t> words(static_cast<std::size_t>(4 * blocks));
  isa.random_words(bits, row, 0, blocks, words.data());
  for (std::size_t b = 0; b < words.size() / 4; ++b) out[b] = words[4 * b];
}

}  // namespace

BlockScaledTensor quantize_eden(const isa::Table& isa, MatrixView y, const Eden& eden,
                                BlockScaledTensor reuse) {
  validate(eden);
  BlockScaledTensor out = quantize(isa, y, default_spec(dialects::quartet2_eden::info), std::move(reuse));
  const auto run = isa.corrected_scales[static_cast<int>(y.dtype)];
  const std::int64_t blocks = out.blocks_per_row(),
                     row_size = y.cols * static_cast<std::int64_t>(size_of(y.dtype));
  std::vector<float> scales(out.scales.size());
  std::vector<std::uint32_t> random(scales.size()), codes(scales.size());
#pragma omp parallel
  {
    const FloatEnvironment fenced;
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < out.rows; ++i) {
      run({static_cast<const std::byte*>(y.data) + i * row_size, y.cols, out.scales.data() + i * blocks,
           out.global[0], eden.group / 16, scales.data() + i * blocks});
      first_words(isa, eden.random, i, blocks, random.data() + i * blocks);
    }
  }
  encode_stochastic(scales, random, {.format = Format::e4m3, .bits = 32}, codes);
  for (std::size_t b = 0; b < codes.size(); ++b) out.scales[b] = static_cast<std::uint8_t>(codes[b]);
  return out;
}

}  // namespace nvfp4::cpu
