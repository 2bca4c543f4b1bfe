#pragma once
#include <cmath>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include <nvfp4/dialects/all.hpp>
#include <nvfp4/stochastic.hpp>

namespace nvfp4 {

/// What shares a second-level scale. A row's own is one for each Dialect::outer_cols of its columns, where that is not 0.
enum class TensorScale : std::uint8_t { tensor, row };
constexpr std::string_view name(TensorScale t) { return t == TensorScale::row ? "row" : "tensor"; }

inline std::string block_name(BlockShape b) { return std::to_string(b.rows) + "x" + std::to_string(b.cols); }
inline std::optional<BlockShape> find_block(std::string_view name) {
  for (const BlockShape block : {BlockShape{1, 16}, BlockShape{16, 16}, BlockShape{1, 32}})
    if (name == block_name(block)) return block;
  return std::nullopt;
}

/// With the input, all that fixes the bits of a quantized tensor.
struct QuantizeSpec {
  const Dialect* dialect = &dialects::te::info;
  BlockShape block{};
  TensorScale tensor_scale = TensorScale::tensor;
  std::optional<float> amax{};  ///< replaces the input's own tensor amax
  FourOverSix four_over_six{};  ///< of the dialects that take it
  std::optional<Stochastic>
      stochastic{};  ///< of the dialects that have it; else elements round as the dialect says
};

/// The spec of a dialect that leaves everything else to it.
inline QuantizeSpec default_spec(const Dialect& dialect) {
  return {.dialect = &dialect,
          .block = {1, dialect.block_cols},
          .tensor_scale = dialect.per_row ? TensorScale::row : TensorScale::tensor};
}

inline Setting setting(const QuantizeSpec& spec, Dtype dtype) {
  return {dtype, spec.block, spec.four_over_six};
}

/// Where global is an amax: decode scale = amax / this.
inline int global_divisor(const QuantizeSpec& spec) {
  return spec.dialect->four_over_six ? 6 * spec.four_over_six.e4m3_max : spec.dialect->global_divisor;
}

/// Throws std::invalid_argument, saying what is wrong, for a spec by which no layer can quantize.
inline void validate(const QuantizeSpec& spec) {
  if (!spec.dialect) throw std::invalid_argument("no dialect");
  const Dialect& d = *spec.dialect;
  const std::string name(d.name);
  const bool tile = spec.block == BlockShape{16, 16} && d.block_cols == 16;
  if (!tile && spec.block != BlockShape{1, d.block_cols})
    throw std::invalid_argument("block shape of " + name + " must be 1x" + std::to_string(d.block_cols) +
                                (d.block_cols == 16 ? " or 16x16" : ""));
  const bool per_row = spec.tensor_scale == TensorScale::row;
  if (per_row && spec.block.rows != 1)
    throw std::invalid_argument("row scales need 1x16 blocks: a 16x16 block spans rows");
  if (per_row && d.global_is == GlobalIs::none)
    throw std::invalid_argument(name + " has no second-level scale that a row could have");
  if (d.per_row && !per_row)
    throw std::invalid_argument(
        name + " has a scale for each " +
        (d.outer_cols ? std::to_string(d.outer_cols) + " columns of a row" : std::string("row")) +
        ": tensor scale row");
  if (per_row && spec.amax)
    throw std::invalid_argument("one tensor amax cannot replace a scale for each row");
  if (spec.amax && !(*spec.amax >= 0))
    throw std::invalid_argument("tensor amax must be 0 or more, and not NaN");
  if (spec.four_over_six != FourOverSix{} && !d.four_over_six)
    throw std::invalid_argument(name + " takes no four-over-six options");
  if (spec.four_over_six.e4m3_max != 448 && spec.four_over_six.e4m3_max != 256)
    throw std::invalid_argument("e4m3-max must be 448 or 256");
  if (d.four_over_six && spec.four_over_six.select == Select::absmax)
    throw std::invalid_argument(name + " selects by mae or mse");
  if (spec.stochastic && !d.stochastic) throw std::invalid_argument(name + " has no stochastic rounding");
  if (spec.stochastic && spec.stochastic->rule == SrRule::tetrajet)
    throw std::invalid_argument(name + " rounds by carry or te_software");
  if (spec.stochastic && spec.stochastic->random.rounds != 7 && spec.stochastic->random.rounds != 10)
    throw std::invalid_argument("Philox has 7 or 10 rounds");
  if (spec.stochastic && spec.stochastic->random.col % 16)
    throw std::invalid_argument("a shard's first column must be a multiple of 16");
}

/// Throws std::invalid_argument where the caller's random words are not as many as a rows x cols matrix takes.
inline void validate_words(const QuantizeSpec& spec, std::int64_t rows, std::int64_t cols) {
  if (!spec.stochastic || !spec.stochastic->from_caller) return;
  const auto expected = static_cast<std::size_t>(rows * ((cols + 15) / 16 * 4));
  if (spec.stochastic->words.size() != expected)
    throw std::invalid_argument("expected " + std::to_string(expected) + " random words, found " +
                                std::to_string(spec.stochastic->words.size()));
}

}  // namespace nvfp4
