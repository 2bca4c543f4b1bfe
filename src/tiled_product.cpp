#include "tiled_product.hpp"

#include <algorithm>
#include <array>

#include <nvfp4/kernels.hpp>

#include "aligned.hpp"
#include "float_environment.hpp"
#include "isa/isa.hpp"
#include "matrix_product.hpp"
#include "output_line.hpp"
#include "packed_rows.hpp"

namespace nvfp4::cpu {
namespace {

using isa::block_tile_rows, isa::BlockTask, isa::BlockTiles;

/// E8M0 exponents between which every number of isa::BlockTiles is a normal FP32 number.
constexpr int least_exponent = -50, largest_exponent = 40;

bool has_normal_scales(const BlockScaledTensor& t) {
  const FormatInfo& format = info(t.spec.dialect->scale);
  return format.format != Format::e8m0 || std::ranges::all_of(t.scales, [&](std::uint8_t code) {
           const Unpacked s = unpack_code(code, format);
           return s.kind != 0 || (s.exponent >= least_exponent && s.exponent <= largest_exponent);
         });
}

/// A thread's share: bands of so many tiles of a pass by so many columns of b, which stay in L2 cache.
constexpr std::int64_t band_tiles = 16, stripe_columns = 512;

class Product {
 public:
  Product(const BlockTiles& tiles, const BlockScaledTensor& a, const BlockScaledTensor& b,
          const Accumulation& acc, Matrix out)
      : tiles_(tiles),
        acc_(acc),
        a_(a, {tiles, block_tile_rows, 0, 64, false}),
        b_(b, {tiles, tiles.cols, 12, 63, true}),
        out_(std::move(out)) {
    if (!needs_model()) return;
    a_.add_model(a);
    b_.add_model(b);
  }

  Matrix run(const OpenBlocks& blocks) && {
    const std::int64_t columns = stripe_columns / tiles_.cols;
    const std::int64_t bands = (a_.tiles + band_tiles - 1) / band_tiles,
                       stripes = (b_.tiles + columns - 1) / columns;
#pragma omp parallel num_threads(threads())
    {
      const FloatEnvironment fenced(RoundingMode::toward_zero);
#pragma omp for schedule(dynamic)
      for (std::int64_t n = 0; n < bands * stripes; ++n) {
        const std::int64_t i = n % bands * band_tiles, first = n / bands * columns;
        for (std::int64_t j = first; j < std::min(b_.tiles, first + columns); ++j)
          fill(i, std::min(band_tiles, a_.tiles - i), j, blocks);
      }
    }
    put_nans(out_, a_.has_nan, b_.has_nan);
    return std::move(out_);
  }

 private:
  static constexpr std::size_t most_columns = 32;
  using Way = decltype(BlockTiles::full);

  /// A tile of a beside one of b.
  struct Tile {
    alignas(64) float c[block_tile_rows * most_columns];
    bool is_open, loses_nothing;
  };

  void fill(std::int64_t i, std::int64_t count, std::int64_t j, const OpenBlocks& blocks) {
    std::array<Tile, band_tiles>
        tiles{};  // all zeros at once: tiles that began themselves took sixteen loops
    for (std::int64_t n = 0; n < count; ++n) {
      Tile& tile = tiles[static_cast<std::size_t>(n)];
      tile.is_open =
          blocks.at((i + n) * block_tile_rows / isa::panel_rows, j * tiles_.cols / isa::panel_rows);
      tile.loses_nothing =
          loses_nothing(a_.whole[static_cast<std::size_t>(i + n)], b_.whole[static_cast<std::size_t>(j)]);
    }
    for (std::int64_t part = 0; part < a_.parts; ++part)
      for (std::int64_t n = 0; n < count; ++n) {
        Tile& tile = tiles[static_cast<std::size_t>(n)];
        if (!tile.is_open) continue;
        if (part == a_.parts - 1) prefetch_output(i + n, j);
        prefetch_columns(j, part, n);
        step(i + n, j, part, tile);
      }
    for (std::int64_t n = 0; n < count; ++n)
      if (tiles[static_cast<std::size_t>(n)].is_open) store(i + n, j, tiles[static_cast<std::size_t>(n)].c);
  }

  void step(std::int64_t i, std::int64_t j, std::int64_t part, Tile& tile) const {
    const std::int64_t s = part * part_steps;
    const Way way = tile.loses_nothing ? exact_way(a_.part[static_cast<std::size_t>(i * a_.parts + part)],
                                                   b_.part[static_cast<std::size_t>(j * b_.parts + part)])
                                       : tiles_.full;
    way({a_.at(i, s), b_.at(j, s), a_.offsets_at(i, s), static_cast<int>(std::min(part_steps, a_.steps - s)),
         a_.fraction_bits + b_.fraction_bits, 52 - acc_.fraction_bits, tile.c});
  }

  /// Of parts that lose nothing. |sum of x y| is below the root of the product of the sums of squares: so norms bound S.
  Way exact_way(const PackedRows::Part& a, const PackedRows::Part& b) const {
    const double squared_sum = a.norm * b.norm;
    const bool wide = a.spread + b.spread > 7;  // 15 * 15 * 2^7 < 2^15
    const bool beyond_float = squared_sum >= 0x1p48;
    if (std::max(a.spread, b.spread) > isa::most_spread || squared_sum >= 0x1p62) return tiles_.full;
    return tiles_.sums[wide][beyond_float];
  }

  bool loses_nothing(const RowExtent& a, const RowExtent& b) const {
    return cpu::loses_nothing(a, b, acc_.fraction_bits - a_.fraction_bits - b_.fraction_bits);
  }

  /// What holds for the worst of all tiles holds for each.
  bool needs_model() const {
    return !loses_nothing(a_.worst_whole(), b_.worst_whole()) ||
           exact_way(a_.worst_part(), b_.worst_part()) == tiles_.full;
  }

  /// The n-th share of what comes after this part of b.
  void prefetch_columns(std::int64_t j, std::int64_t part, std::int64_t n) const {
    const bool last = part == b_.parts - 1;
    if (last && j == b_.tiles - 1) return;
    const isa::BlockOperand next = last ? b_.at(j + 1, 0) : b_.at(j, (part + 1) * part_steps);
    constexpr std::int64_t line = 64, shares = part_steps * isa::step_k / band_tiles;
    for (std::int64_t at = 0; at < tiles_.cols * shares; at += line)
      __builtin_prefetch(next.values + n * tiles_.cols * shares + at);
    __builtin_prefetch(next.weights + n * tiles_.cols * shares / isa::group_size);
  }

  void prefetch_output(std::int64_t i, std::int64_t j) const {
    const std::int64_t last = std::min(a_.rows, (i + 1) * block_tile_rows);
    for (std::int64_t row = i * block_tile_rows; row < last; ++row) {
      const float* to = out_.f32() + row * b_.rows + j * tiles_.cols;
      for (std::int64_t n = 0; n < tiles_.cols; n += 16) __builtin_prefetch(to + n, 1);
    }
  }

  void store(std::int64_t i, std::int64_t j, const float* c) {
    const std::int64_t first = j * tiles_.cols, count = std::min<std::int64_t>(tiles_.cols, b_.rows - first);
    for (std::int64_t row = i * block_tile_rows; row < std::min(a_.rows, (i + 1) * block_tile_rows);
         ++row, c += tiles_.cols)
      for (std::int64_t n = 0; n < count; n += 16)
        copy_line(c + n, out_.f32() + row * b_.rows + first + n, std::min<std::int64_t>(16, count - n));
  }

  const BlockTiles& tiles_;
  const Accumulation& acc_;
  PackedRows a_, b_;
  Matrix out_;
};

}  // namespace

bool has_tiles(const Accumulation& acc, const BlockScaledTensor& a, const BlockScaledTensor& b) {
  const bool grouped = acc.sum == Summation::aligned && acc.align == Align::group &&
                       acc.group == isa::group_size && acc.step == isa::step_k && acc.k == acc.step;
  const bool plain = acc.align_rounding == AlignRounding::toward_zero && acc.c_in_sum && !acc.minus_zero &&
                     acc.zero_rule == ZeroRule::zero_products && acc.out == Conversion::rz_fp32;
  return grouped && plain && acc.fraction_bits == 35 && has_normal_scales(a) && has_normal_scales(b);
}

Matrix tiled_product(const isa::Table& isa, const BlockScaledTensor& a, const BlockScaledTensor& b,
                     const Accumulation& acc, Matrix out) {
  OpenBlocks open(a.rows, b.rows);
  if (isa.matrix_tiles) open = matrix_product(*isa.matrix_tiles, a, b, acc, out);
  return open.any() ? Product(isa.block_tiles(), a, b, acc, std::move(out)).run(open) : std::move(out);
}

}  // namespace nvfp4::cpu
