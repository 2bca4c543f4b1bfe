#include "matrix_product.hpp"

#include <algorithm>

#include <nvfp4/kernels.hpp>

#include "float_environment.hpp"
#include "matrix_rows.hpp"
#include "output_line.hpp"

namespace nvfp4::cpu {
namespace {

using isa::panel_rows, isa::PanelProduct;

/// A thread's share: bands of so many panels of a by so many of b, in passes of K whose lines of a band stay in L2
/// cache.
constexpr std::int64_t band_panels = 8, stripe_panels = 16, pass_steps = 32;

class MatrixProduct {
 public:
  MatrixProduct(const isa::MatrixTiles& tiles, const BlockScaledTensor& a, const BlockScaledTensor& b,
                const Accumulation& acc, Matrix& out)
      : tiles_(tiles),
        a_(tiles, a, Side::left),
        b_(tiles, b, Side::right),
        out_(out),
        open_(a.rows, b.rows),
        ways_(open_.open.size()) {
    const int kept = acc.fraction_bits - a_.fraction_bits - b_.fraction_bits;
    for (std::int64_t i = 0; i < open_.rows; ++i)
      for (std::int64_t j = 0; j < open_.columns; ++j) ways_[index(i, j)] = way(i, j, kept);
  }

  OpenBlocks run() && {
    if (has(Way::values)) {
      a_.pack_values(), b_.pack_values();
      fill(Way::values, tiles_.values);
    }
    if (has(Way::digits)) {
      a_.pack_digits(), b_.pack_digits();
      fill(Way::digits, tiles_.digits);
    }
    put_nans(out_, a_.has_nan, b_.has_nan);
    return std::move(open_);
  }

 private:
  enum class Way : std::uint8_t { none, values, digits };
  using Multiply = void (*)(const PanelProduct&);
  struct alignas(64) Block {
    float c[2][2][16][16] = {};
  };
  struct Range {
    std::int64_t first, last;
  };

  std::size_t index(std::int64_t i, std::int64_t j) const {
    return static_cast<std::size_t>(i * open_.columns + j);
  }

  Way way(std::int64_t i, std::int64_t j, int kept) const {
    const auto row = static_cast<std::size_t>(i), column = static_cast<std::size_t>(j);
    if (!loses_nothing(a_.extent[row], b_.extent[column], kept)) return Way::none;
    const float squared_sum = largest_product(a_.norms(i), b_.norms(j));
    if (squared_sum < 0x1p48f) return Way::values;
    const bool has_digits = std::max(a_.spread[row], b_.spread[column]) <= isa::most_digit_spread;
    return has_digits && squared_sum < 0x1p62f ? Way::digits : Way::none;
  }

  bool has(Way way) const { return std::ranges::count(ways_, way) > 0; }

  /// Of one step. |a sum of some x y| is at most the root of the product of the sums of squares.
  float largest_product(const float* a, const float* b) const {
    float largest = 0;
    for (std::int64_t s = 0; s < a_.steps; ++s) largest = std::max(largest, a[s] * b[s]);
    return largest;
  }

  void fill(Way way, Multiply multiply) {
    const std::int64_t bands = (a_.panels + band_panels - 1) / band_panels,
                       stripes = (b_.panels + stripe_panels - 1) / stripe_panels;
#pragma omp parallel num_threads(threads())
    {
      const FloatEnvironment fenced(RoundingMode::toward_zero);
      tiles_.enter();
#pragma omp for schedule(dynamic)
      for (std::int64_t n = 0; n < bands * stripes; ++n) {
        const std::int64_t i = n % bands * band_panels, j = n / bands * stripe_panels;
        fill({i, std::min(a_.panels, i + band_panels)}, {j, std::min(b_.panels, j + stripe_panels)}, way,
             multiply);
      }
      tiles_.leave();
    }
  }

  void fill(Range band, Range stripe, Way way, Multiply multiply) {
    std::int64_t step = 0;
    do {  // also where K is 0
      const Range pass{step, std::min(a_.steps, step + pass_steps)};
      for (std::int64_t j = stripe.first; j < stripe.last; ++j) fill(band, j, pass, way, multiply);
      step = pass.last;
    } while (step < a_.steps);
  }

  void fill(Range band, std::int64_t j, Range pass, Way way, Multiply multiply) {
    for (std::int64_t i = band.first; i < band.last; ++i) {
      if (ways_[index(i, j)] != way) continue;
      Block block;
      if (pass.first) load(i, j, block);
      multiply({a_.at(i, pass.first), b_.at(j, pass.first), a_.units_at(i, pass.first),
                b_.units_at(j, pass.first), static_cast<int>(pass.last - pass.first), &block.c[0][0][0][0]});
      store(i, j, block);
    }
  }

  /// use(sixteen of the block's outputs, where they stand, how many of them `out` has)
  template <class Use>
  void each_line(std::int64_t i, std::int64_t j, Block& block, Use use) {
    for (int r = 0; r < panel_rows && i * panel_rows + r < a_.rows; ++r)
      for (int half = 0; half < 2; ++half) {
        const std::int64_t column = j * panel_rows + 16 * half;
        use(block.c[r / 16][half][r % 16], out_.f32() + (i * panel_rows + r) * b_.rows + column,
            std::clamp<std::int64_t>(b_.rows - column, 0, 16));
      }
  }
  void load(std::int64_t i, std::int64_t j, Block& block) {
    each_line(i, j, block, [](float* c, const float* out, std::int64_t n) { copy_line(out, c, n); });
  }
  void store(std::int64_t i, std::int64_t j, Block& block) {
    each_line(i, j, block, [](const float* c, float* out, std::int64_t n) { copy_line(c, out, n); });
    open_.open[index(i, j)] = 0;
  }

  const isa::MatrixTiles& tiles_;
  MatrixRows a_, b_;
  Matrix& out_;
  OpenBlocks open_;
  std::vector<Way> ways_;
};

}  // namespace

OpenBlocks matrix_product(const isa::MatrixTiles& tiles, const BlockScaledTensor& a,
                          const BlockScaledTensor& b, const Accumulation& acc, Matrix& out) {
  return MatrixProduct(tiles, a, b, acc, out).run();
}

}  // namespace nvfp4::cpu
