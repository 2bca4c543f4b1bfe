#pragma once
#include <nvfp4/dialects/all.hpp>

#include "matrix.cuh"
#include "number.cuh"
#include "quantize.hpp"

/// One block by any dialect: what a thread does. The host can, too.
namespace nvfp4::gpu {

/// What the kernels know of a tensor. A source of elements has rows, cols and at(row, col).
template <class Source>
struct QuantizeTaskOf {
  Source x;
  Setting setting;
  const float* amaxes;
  std::int64_t outer;  ///< columns that share a second-level scale; 0: all the tensor's do
  std::int64_t scales_per_row;
  TensorParts out;
  std::int64_t row_bytes, blocks_per_row;
  bool is_stochastic;
  Stochastic stochastic;

  NVFP4_HOST_DEVICE std::int64_t scale_of(std::int64_t row, std::int64_t col) const {
    return outer ? row * scales_per_row + col / outer : 0;
  }
};
using QuantizeTask = QuantizeTaskOf<Elements>;

/// A block: rows x cols elements of the tensor, of which the edge may cut some.
template <class Source = Elements>
struct Block {
  const Source& x;
  std::int64_t row, col;
  int rows, cols;
  NVFP4_HOST_DEVICE Number operator()(int r, int j) const {
    return row + r < x.rows && col + j < x.cols ? Number(x.at(row + r, col + j)) : Number(0);
  }
};

template <class Source>
NVFP4_HOST_DEVICE Number amax_of(const Block<Source>& block, bool nan_poisons) {
  Number largest(0);
  NVFP4_NO_UNROLL  // here and below: 54 dialects of these are enough code
  for (int n = 0; n < block.rows * block.cols; ++n) {
    const Number magnitude = abs(block(n / block.cols, n % block.cols));
    if (nan_poisons && is_nan(magnitude)) return default_nan();
    if (largest < magnitude) largest = magnitude;
  }
  return largest;
}

template <class D, class Source, class Tensor>
NVFP4_HOST_DEVICE BlockScale<Number> block_scale(const Block<Source>& block, const Tensor& tensor) {
  const Number largest = amax_of(block, D::info.nan_in_block_amax);
  if constexpr (requires { D::block(largest, tensor, block); })
    return D::block(largest, tensor, block);
  else
    return D::block(largest, tensor);
}

template <class Source>
NVFP4_HOST_DEVICE std::uint32_t random_word(const QuantizeTaskOf<Source>& t, std::int64_t row,
                                            std::int64_t col) {
  const Stochastic& s = t.stochastic;
  if (s.from_caller) return s.words.data()[row * ((t.x.cols + 15) / 16 * 4) + col / 4];
  return draw(s.random, row, col / 16)[static_cast<std::size_t>(col % 16 / 4)];
}

template <class D, class Source, class Tensor>
NVFP4_HOST_DEVICE std::uint32_t element(const QuantizeTaskOf<Source>& t, std::int64_t row, std::int64_t col,
                                        Number encode, const Tensor& tensor) {
  if (col >= t.x.cols) return 0;
  const Number x(t.x.at(row, col));
  if constexpr (D::info.stochastic)
    if (t.is_stochastic) {
      const std::uint32_t word = random_word(t, row, col);
      const Code random(word >> (8 * byte_of(t.stochastic.map, static_cast<int>(col % 4))) & 0xFF);
      return e2m1_stochastic(D::scaled(x, encode, tensor), random, t.stochastic.rule).bits;
    }
  return D::element(x, encode, tensor).bits;
}

/// The codes of a block's row, which becomes block `at` of that row.
template <class D, class Source, class Tensor>
NVFP4_HOST_DEVICE void put_row(const QuantizeTaskOf<Source>& t, std::int64_t row, std::int64_t col,
                               std::int64_t at, Number encode, const Tensor& tensor) {
  constexpr int per_byte = D::info.element == Format::e2m1 ? 2 : 1;
  std::uint8_t* codes = t.out.codes + row * t.row_bytes + at * (D::info.block_cols / per_byte);
  NVFP4_NO_UNROLL
  for (int j = 0; j < D::info.block_cols; j += per_byte) {
    std::uint32_t byte = element<D>(t, row, col + j, encode, tensor);
    if constexpr (per_byte == 2) byte |= element<D>(t, row, col + j + 1, encode, tensor) << 4;
    codes[j / per_byte] = static_cast<std::uint8_t>(byte);
  }
}

/// A block, which becomes block `at` of its rows.
template <class D, class Source, class Tensor>
NVFP4_HOST_DEVICE void put_block(const QuantizeTaskOf<Source>& t, const Block<Source>& block, std::int64_t at,
                                 const BlockScale<Number>& scale, const Tensor& tensor) {
  for (std::int64_t row = block.row; row < block.row + block.rows && row < t.x.rows; ++row) {
    t.out.scales[row * t.blocks_per_row + at] = static_cast<std::uint8_t>(scale.code.bits);
    put_row<D>(t, row, block.col, at, scale.encode, tensor);
  }
}

/// The block `n`, rows of blocks after each other.
template <class D, class Source>
NVFP4_HOST_DEVICE void quantize_block(const QuantizeTaskOf<Source>& t, std::int64_t n) {
  const int rows = t.setting.block.rows;
  const std::int64_t at = n % t.blocks_per_row;
  const Block<Source> block{t.x, n / t.blocks_per_row * rows, at * D::info.block_cols, rows,
                            D::info.block_cols};
  const auto tensor = D::tensor(Number(t.amaxes[t.scale_of(block.row, block.col)]), t.setting);
  put_block<D>(t, block, at, block_scale<D>(block, tensor), tensor);
}

NVFP4_HOST_DEVICE inline float settled(Number x) { return is_nan(x) ? default_nan().value : x.value; }

template <class D, class Source>
NVFP4_HOST_DEVICE float kept_global(const QuantizeTaskOf<Source>& t, std::int64_t n) {
  return settled(D::tensor(Number(t.amaxes[n]), t.setting).global);
}

/// The value of a code under its block's scale.
template <class D>
NVFP4_HOST_DEVICE float value_of(std::uint32_t code, std::uint32_t scale, float global,
                                 const Setting& setting) {
  const Number element =
      D::info.element == Format::e2m1 ? Number::e2m1_value(Code(code)) : signed_e4m3_value(code);
  const Number block = D::info.scale == Format::e8m0 ? e8m0_value(scale) : signed_e4m3_value(scale);
  return settled(D::dequantize(element, block, Number(global), setting));
}

template <class D, class Source>
NVFP4_HOST_DEVICE float dequantized(const QuantizeTaskOf<Source>& t, std::int64_t row, std::int64_t col) {
  const bool two_a_byte = D::info.element == Format::e2m1;
  const std::uint32_t byte = t.out.codes[row * t.row_bytes + (two_a_byte ? col / 2 : col)];
  return value_of<D>(two_a_byte ? byte >> (col % 2 * 4) & 15 : byte,
                     t.out.scales[row * t.blocks_per_row + col / D::info.block_cols],
                     D::info.global_is == GlobalIs::none ? 1 : t.out.global[t.scale_of(row, col)], t.setting);
}

/// Without amaxes and output. Throws as validate() does.
inline QuantizeTask task_of(MatrixView x, bool transposed, const QuantizeSpec& spec) {
  validate(spec);
  const BlockScaledTensor shape{
      .spec = spec, .rows = transposed ? x.cols : x.rows, .cols = transposed ? x.rows : x.cols};
  const bool per_row = spec.tensor_scale == TensorScale::row;
  return {
      .x = elements(x, transposed),
      .setting = setting(spec, x.dtype),
      .amaxes = nullptr,
      .outer = !per_row                   ? 0
               : spec.dialect->outer_cols ? spec.dialect->outer_cols
                                          : shape.cols,
      .scales_per_row = shape.globals_per_row(),
      .out = {},
      .row_bytes = shape.row_bytes(),
      .blocks_per_row = shape.blocks_per_row(),
      .is_stochastic = spec.stochastic.has_value(),
      .stochastic = spec.stochastic.value_or(Stochastic{}),
  };
}

}  // namespace nvfp4::gpu
