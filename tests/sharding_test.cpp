#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include <nvfp4/nvfp4.hpp>

using namespace nvfp4;

/// A tensor quantized in shards, as ranks would, is the tensor quantized whole: with random bits by position and the
/// amax reduced over the ranks.
namespace {

Matrix heavy(std::int64_t rows, std::int64_t cols) {
  std::mt19937 random(4);
  std::lognormal_distribution<float> magnitude;
  Matrix x(rows, cols, Dtype::bf16);
  for (std::int64_t i = 0; i < rows * cols; ++i) {
    const float value = magnitude(random) * (random() % 2 ? 1.f : -1.f);
    x.u16()[i] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
  }
  return x;
}

/// Rows [row, row + rows) and columns [col, col + cols).
Matrix part(const Matrix& x, std::int64_t row, std::int64_t rows, std::int64_t col, std::int64_t cols) {
  Matrix out(rows, cols, x.dtype);
  for (std::int64_t i = 0; i < rows; ++i)
    std::memcpy(out.u16() + i * cols, x.u16() + (row + i) * x.cols + col, static_cast<std::size_t>(cols) * 2);
  return out;
}

QuantizeSpec spec_at(std::int64_t row, std::int64_t col, float amax) {
  QuantizeSpec spec = default_spec(dialects::te::info);
  spec.amax = amax;
  spec.stochastic = Stochastic{.random = {.seed = 11, .stream = 4, .row = row, .col = col}};
  return spec;
}

/// The shard's bytes at their place in the whole.
bool is_part_of(const BlockScaledTensor& whole, const BlockScaledTensor& shard, std::int64_t row,
                std::int64_t col) {
  for (std::int64_t i = 0; i < shard.rows; ++i) {
    const auto codes = whole.codes.begin() + (row + i) * whole.row_bytes() + col / 2;
    const auto scales = whole.scales.begin() + (row + i) * whole.blocks_per_row() + col / 16;
    if (!std::equal(codes, codes + shard.row_bytes(), shard.codes.begin() + i * shard.row_bytes()))
      return false;
    if (!std::equal(scales, scales + shard.blocks_per_row(),
                    shard.scales.begin() + i * shard.blocks_per_row()))
      return false;
  }
  return whole.global == shard.global;
}

struct Range {
  std::int64_t first, count;
};

/// `shards` pieces of `total`, each but the last a multiple of `unit`.
std::vector<Range> cut(std::int64_t total, std::int64_t unit, std::int64_t shards) {
  std::vector<Range> ranges;
  const std::int64_t units = (total + unit - 1) / unit;
  for (std::int64_t s = 0; s < shards; ++s) {
    const std::int64_t first = units * s / shards * unit,
                       end = std::min(total, units * (s + 1) / shards * unit);
    if (end > first) ranges.push_back({first, end - first});
  }
  return ranges;
}

Matrix transformed(const Matrix& x) {
  return cpu_kernels().hadamard(x.view(), {.signs = Signs::te, .sum = HadamardSum::tensor_core});
}

}  // namespace

TEST_CASE(
    "sharding: by rows, by columns and over ranks, stochastic and transformed, the bytes are the whole's") {
  const Dialect& te = dialects::te::info;
  for (const bool rht : {false, true}) {
    const Matrix input = heavy(42, 16 * 21);
    const Matrix x = rht ? transformed(input) : input;
    const BlockScaledTensor whole =
        cpu_kernels().quantize(x.view(), spec_at(0, 0, cpu_kernels().amax(x.view(), te)), {});
    for (const std::int64_t shards : {1, 2, 3, 7})
      for (const auto& [unit_rows, unit_cols] : {std::pair{1, 0}, {0, 16}}) {
        std::vector<Range> places = unit_rows ? cut(x.rows, 1, shards) : cut(x.cols, 16, shards);
        std::vector<Matrix> ranks;
        float amax = 0;
        for (const Range& p : places) {
          const Matrix local =
              unit_rows ? part(input, p.first, p.count, 0, x.cols) : part(input, 0, x.rows, p.first, p.count);
          ranks.push_back(rht ? transformed(local) : local);
          amax = std::max(amax, cpu_kernels().amax(ranks.back().view(), te));  // the all-reduce
        }
        for (std::size_t r = 0; r < ranks.size(); ++r) {
          const std::int64_t row = unit_rows ? places[r].first : 0, col = unit_rows ? 0 : places[r].first;
          for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()})
            CHECK(
                is_part_of(whole, kernels->quantize(ranks[r].view(), spec_at(row, col, amax), {}), row, col));
        }
        if (shards > 1) {  // without its place a shard draws the first one's bits
          const std::int64_t row = unit_rows ? places[1].first : 0, col = unit_rows ? 0 : places[1].first;
          CHECK_FALSE(
              is_part_of(whole, cpu_kernels().quantize(ranks[1].view(), spec_at(0, 0, amax), {}), row, col));
        }
      }
  }
}
