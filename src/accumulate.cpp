#include "accumulate.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <optional>

#include <nvfp4/kernels.hpp>

#include "aligned.hpp"
#include "float_environment.hpp"
#include "formats.hpp"
#include "tiled_product.hpp"
#include "value_rows.hpp"

namespace nvfp4::cpu {
namespace {

std::int64_t padded_k(const Accumulation& acc, std::int64_t k) { return instructions(acc, k) * acc.k; }

/// A chain of instructions over row i of a and row j of b; each kind has `step`, the accumulator after
/// instruction n.
template <class Rows>
struct AlignedInstruction {
  AlignedInstruction(const CodeRows& a, const CodeRows& b, const Accumulation& acc)
      : acc(acc), a(a, padded_k(acc, a.k), acc), b(b, padded_k(acc, b.k), acc) {}
  std::int64_t count() const { return a.k / acc.k; }

  std::uint32_t step(std::int64_t i, std::int64_t j, std::int64_t n, std::uint32_t c) const {
    const AlignedChain<Rows> chain{a, b, acc, i, j};
    const std::int64_t steps = acc.k / acc.step;
    std::uint32_t sum = acc.c_in_sum ? c : 0;
    for (std::int64_t s = n * steps; s < (n + 1) * steps; ++s) sum = chain.step(s, sum);
    if (acc.c_in_sum) return sum;
    Target nearest = target(acc.out);
    nearest.kept_bits = nearest.mantissa_bits, nearest.to_nearest = true;
    return add(c, sum, nearest);
  }

  const Accumulation& acc;
  Rows a, b;
};

struct ValueInstruction {
  ValueInstruction(const CodeRows& a, const CodeRows& b, const Accumulation& acc)
      : acc(acc), a(a, padded_k(acc, a.k)), b(b, padded_k(acc, b.k)) {}
  std::int64_t count() const { return acc.sum == Summation::exact ? 1 : a.k / acc.k; }

  std::uint32_t step(std::int64_t i, std::int64_t j, std::int64_t n, std::uint32_t c) const {
    if (acc.sum == Summation::exact) return exact_sum(a, i, b, j, c);
    if (acc.sum == Summation::chunks) return add_chunk(a, i, b, j, n * acc.k, acc.k, c);
    return add_in_order(a, i, b, j, n, c);
  }

  const Accumulation& acc;
  ValueRows a, b;
};

/// Calls `use` with the operands as this kind of sum takes them.
template <class Use>
auto with_instruction(const CodeRows& a, const CodeRows& b, const Accumulation& acc, Use use) {
  if (acc.sum != Summation::aligned) return use(ValueInstruction(a, b, acc));
  if (acc.align == Align::group) return use(AlignedInstruction<GroupRows>(a, b, acc));
  return use(AlignedInstruction<ProductRows>(a, b, acc));
}

float value_of(std::uint32_t code, const Accumulation& acc) {
  if (acc.out != Conversion::rne_fp16) return std::bit_cast<float>(code);
  if (code == 0x7FFF) return std::bit_cast<float>(0x7FFFFFFF);
  float value = 0;
  decode({&code, 1}, Format::fp16, {&value, 1});
  return value;
}

/// Products below which starting threads costs more than it saves.
constexpr std::int64_t worth_threads = 1 << 16;

/// The accumulator of row i of a and j of b after all instructions.
template <class Instruction>
float whole_chain(const Instruction& x, std::int64_t i, std::int64_t j) {
  std::uint32_t c = 0;
  for (std::int64_t n = 0; n < x.count(); ++n) c = x.step(i, j, n, c);
  return value_of(c, x.acc);
}

std::optional<ProductTiles> tiles_of(const AlignedInstruction<ProductRows>& x) {
  return ProductTiles::of(x.a, x.b, x.acc);
}
std::optional<ValueTiles> tiles_of(const ValueInstruction& x) { return ValueTiles(x.a, x.b, x.acc); }

/// A tile by the loops of an instruction set, and by itself what does not hold there.
template <class Instruction, class Tiles>
void fill_tile(const isa::Table& isa, const Instruction& x, const std::optional<Tiles>& tiles, const Tile& at,
               Matrix& out) {
  alignas(64) std::array<float, isa::tile_rows * isa::panel> sums;
  if (tiles) tiles->sum(*isa.tiles, at, sums.data());
  for (std::int64_t i = at.row; i < at.row + at.rows; ++i)
    for (std::int64_t j = at.column; j < at.column + at.columns; ++j) {
      const float sum = sums[static_cast<std::size_t>((i - at.row) * isa::panel + j - at.column)];
      const bool holds = tiles && tiles->hold(i, j);
      out.f32()[i * out.cols + j] = !holds            ? whole_chain(x, i, j)
                                    : std::isnan(sum) ? std::bit_cast<float>(0x7FFFFFFF)
                                                      : sum;
    }
}

/// FP32; every element is to be written.
Matrix resized(Matrix reuse, std::int64_t rows, std::int64_t cols) {
  reuse.bytes.resize(static_cast<std::size_t>(rows * cols) * sizeof(float));
  reuse.rows = rows, reuse.cols = cols, reuse.dtype = Dtype::fp32;
  return reuse;
}

struct RowByRow {};
RowByRow tiles_of(const AlignedInstruction<GroupRows>&) { return {}; }

void fill_tile(const isa::Table& isa, const AlignedInstruction<GroupRows>& x, RowByRow, const Tile& at,
               Matrix& out) {
  for (std::int64_t i = at.row; i < at.row + at.rows; ++i) {
    std::array<std::uint32_t, isa::panel> codes{};
    const bool done = run_chains(isa, x.a, i, x.b, at.column, at.columns, x.acc, codes.data());
    for (std::int64_t j = 0; j < at.columns; ++j)
      out.f32()[i * out.cols + at.column + j] =
          done ? value_of(codes[static_cast<std::size_t>(j)], x.acc) : whole_chain(x, i, at.column + j);
  }
}

Matrix multiply(const isa::Table& isa, const CodeRows& a, const CodeRows& b, const Accumulation& acc,
                Matrix out) {
  const std::int64_t bands = (a.rows + isa::tile_rows - 1) / isa::tile_rows,
                     columns = (b.rows + isa::panel - 1) / isa::panel;
  const auto fill = [&](const auto& x) {
    const auto tiles = tiles_of(x);
#pragma omp parallel num_threads(threads()) if (a.rows * b.rows * a.k >= worth_threads)
    {
      const FloatEnvironment fenced;
#pragma omp for schedule(dynamic)
      for (std::int64_t t = 0; t < bands * columns; ++t) {
        const std::int64_t row = t / columns * isa::tile_rows, column = t % columns * isa::panel;
        fill_tile(
            isa, x, tiles,
            {row, std::min(isa::tile_rows, a.rows - row), column, std::min(isa::panel, b.rows - column)},
            out);
      }
    }
  };
  const FloatEnvironment fenced;
  with_instruction(a, b, acc, fill);
  return out;
}

/// D, or with every_step all accumulators, of all tiles.
template <class Step>
std::vector<std::uint64_t> chains(const MmaOperands& x, std::int64_t count, bool every_step,
                                  const Step& step) {
  const std::int64_t tile_size = x.rows * x.cols, kept = every_step ? count : 1;
  std::vector<std::uint64_t> out(static_cast<std::size_t>(x.tiles * kept * tile_size));
#pragma omp parallel num_threads(threads()) if (x.tiles * tile_size * x.k >= worth_threads)
  {
    const FloatEnvironment fenced;
#pragma omp for schedule(static)
    for (std::int64_t n = 0; n < x.tiles * tile_size; ++n) {
      const std::int64_t i = n / x.cols, j = n / tile_size * x.cols + n % x.cols;
      std::uint64_t* place = out.data() + n / tile_size * kept * tile_size + n % tile_size;
      std::uint64_t c = x.c[static_cast<std::size_t>(n)];
      for (std::int64_t s = 0; s < count; ++s) {
        c = step(i, j, s, c);
        if (every_step) place[s * tile_size] = c;
      }
      if (!every_step) *place = c;
    }
  }
  return out;
}

constexpr std::uint64_t fp64_nan = 0x7FF8000000000000;

std::vector<std::uint64_t> mma_fp64(const MmaOperands& x, bool every_step) {
  const auto number = [](std::uint64_t code) { return std::bit_cast<double>(code); };
  return chains(x, x.k, every_step, [&](std::int64_t i, std::int64_t j, std::int64_t k, std::uint64_t c) {
    const std::uint64_t a = x.a[static_cast<std::size_t>(i * x.k + k)],
                        b = x.b[static_cast<std::size_t>(j * x.k + k)];
    const double sum = std::fma(number(a), number(b), number(c));
    return std::isnan(sum) ? fp64_nan : std::bit_cast<std::uint64_t>(sum);
  });
}

}  // namespace

Matrix multiply(const isa::Table& isa, const BlockScaledTensor& a, const BlockScaledTensor& b,
                const Accumulation& acc, Matrix reuse) {
  validate(acc, a, b);
  Matrix out = resized(std::move(reuse), a.rows, b.rows);
  if (has_tiles(acc, a, b)) return tiled_product(isa, a, b, acc, std::move(out));
  return multiply(isa, code_rows(a), code_rows(b), acc, std::move(out));
}

Matrix multiply_dense(const isa::Table& isa, MatrixView a, MatrixView b, const Accumulation& acc) {
  const std::optional<Format> format = dense_format(acc, a, b);
  return multiply(isa, code_rows(a, format, acc), code_rows(b, format, acc), acc, Matrix(a.rows, b.rows));
}

std::vector<std::uint64_t> mma(const MmaOperands& x, const Accumulation& acc, bool every_step) {
  validate(acc, x);
  if (acc.sum == Summation::fp64_fma) return mma_fp64(x, every_step);
  const FloatEnvironment fenced;
  return with_instruction(code_rows(x, false), code_rows(x, true), acc, [&](const auto& instruction) {
    return chains(x, instruction.count(), every_step,
                  [&](std::int64_t i, std::int64_t j, std::int64_t s, std::uint64_t c) {
                    return std::uint64_t{instruction.step(i, j, s, static_cast<std::uint32_t>(c))};
                  });
  });
}

}  // namespace nvfp4::cpu
