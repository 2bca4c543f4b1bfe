#include "eden.hpp"

#include <vector>

#include "quantize.hpp"
#include "quantizer.hpp"
#include "stochastic.hpp"

namespace nvfp4::reference {
namespace {

using dialects::quartet2_eden;
using Products = quartet2_eden::Products<Number>;

std::size_t scale_at(const BlockScaledTensor& t, std::int64_t row, std::int64_t block) {
  return static_cast<std::size_t>(row * t.blocks_per_row() + block);
}

Number scale_of(const BlockScaledTensor& t, std::int64_t row, std::int64_t block) {
  return Number(decode(t.scales[scale_at(t, row, block)], Format::e4m3));
}

/// Zeros beyond the row.
Products products(const Values& y, const BlockScaledTensor& t, std::int64_t row, std::int64_t block) {
  if (block >= t.blocks_per_row()) return {Number(0), Number(0)};
  const Window window{row, row + 1, 16 * block, std::min(16 * block + 16, y.cols)};
  const Number encode = quartet2_eden::block_encode(scale_of(t, row, block), Number(t.global[0]));
  return quartet2_eden::products(Elements{y, window, 1}, encode);
}

/// Of the n blocks from `first` on, which meet in halves.
Number correction(const Values& y, const BlockScaledTensor& t, std::int64_t row, std::int64_t first,
                  std::size_t n) {
  std::vector<Products> p;
  for (std::size_t b = 0; b < n; ++b) p.push_back(products(y, t, row, first + static_cast<std::int64_t>(b)));
  for (std::size_t half = n / 2; half > 0; half /= 2)
    for (std::size_t b = 0; b < half; ++b) p[b] = {p[b].yy + p[b + half].yy, p[b].yq + p[b + half].yq};
  return quartet2_eden::correction(p[0]);
}

std::uint8_t rounded(Number scale, std::uint32_t random) {
  std::uint32_t code;
  encode_stochastic({&scale.value, 1}, {&random, 1}, {.format = Format::e4m3, .bits = 32}, {&code, 1});
  return static_cast<std::uint8_t>(code);
}

}  // namespace

BlockScaledTensor quantize_eden(MatrixView x, const Eden& eden, BlockScaledTensor) {
  validate(eden);
  const BlockScaledTensor nearest = quantize(x, default_spec(quartet2_eden::info), {});
  const Values y = widen(x);
  BlockScaledTensor out = nearest;
  const std::int64_t n = eden.group / 16;
  for (std::int64_t i = 0; i < out.rows; ++i)
    for (std::int64_t first = 0; first < out.blocks_per_row(); first += n) {
      const Number s = correction(y, nearest, i, first, static_cast<std::size_t>(n));
      for (std::int64_t b = first; b < std::min(first + n, out.blocks_per_row()); ++b)
        out.scales[scale_at(out, i, b)] = rounded(scale_of(nearest, i, b) * s, draw(eden.random, i, b)[0]);
    }
  return out;
}

}  // namespace nvfp4::reference
