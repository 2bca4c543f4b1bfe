#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

#include <nvfp4/tensor.hpp>

#include "number.hpp"
#include "stochastic.hpp"

/// The quantizer of any dialect, literally: amax, tensor step, block step, elements, one at a time
/// (reference/README.md, equations 2 to 6).
namespace nvfp4::reference {

/// A matrix of FP32 values; BF16 and FP16 are widened, which is exact.
struct Values {
  std::vector<float> data;
  std::int64_t rows, cols;
  float at(std::int64_t i, std::int64_t j) const { return data[static_cast<std::size_t>(i * cols + j)]; }
};

/// Every NaN as 0x7FC00000.
inline float settled(Number x) { return is_nan(x) ? default_nan() : x.value; }

/// Half-open ranges of rows and columns, cut at the matrix's edge.
struct Window {
  std::int64_t row, row_end, col, col_end;
};

inline float element_of(MatrixView x, std::int64_t index) {
  const auto* bytes =
      static_cast<const std::byte*>(x.data) + index * static_cast<std::int64_t>(size_of(x.dtype));
  if (x.dtype == Dtype::fp32) {
    float value;
    std::memcpy(&value, bytes, 4);
    return value;
  }
  std::uint16_t code;
  std::memcpy(&code, bytes, 2);
  return decode(code, x.dtype == Dtype::bf16 ? Format::bf16 : Format::fp16);
}

inline Values widen(MatrixView x) {
  Values values{{}, x.rows, x.cols};
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) values.data.push_back(element_of(x, i));
  return values;
}

/// max |x|. A NaN is dropped, or poisons the maximum, as the dialect says; of nothing it is 0.
inline float amax(const Values& x, const Window& w, bool nan_poisons) {
  Number largest(0);
  for (std::int64_t i = w.row; i < w.row_end; ++i)
    for (std::int64_t j = w.col; j < w.col_end; ++j) {
      const Number magnitude = abs(Number(x.at(i, j)));
      if (nan_poisons && is_nan(magnitude)) return default_nan();
      if (largest < magnitude) largest = magnitude;
    }
  return largest.value;
}

inline void put_code(BlockScaledTensor& out, std::int64_t i, std::int64_t j, Code code) {
  const bool two_a_byte = info(out.spec.dialect->element).bits == 4;
  const std::int64_t at = i * out.row_bytes() + (two_a_byte ? j / 2 : j);
  out.codes[static_cast<std::size_t>(at)] |=
      static_cast<std::uint8_t>(code.bits << (two_a_byte ? j % 2 * 4 : 0));
}

inline Code get_code(const BlockScaledTensor& t, std::int64_t i, std::int64_t j) {
  if (info(t.spec.dialect->element).bits == 8)
    return Code(t.codes[static_cast<std::size_t>(i * t.row_bytes() + j)]);
  return Code(t.codes[static_cast<std::size_t>(i * t.row_bytes() + j / 2)] >> (j % 2 * 4) & 15);
}

inline BlockScaledTensor empty_result(MatrixView x, const QuantizeSpec& spec) {
  BlockScaledTensor out;
  out.spec = spec;
  out.dtype = x.dtype;
  out.rows = x.rows;
  out.cols = x.cols;
  out.codes.assign(static_cast<std::size_t>(out.rows * out.row_bytes()), 0);
  out.scales.assign(static_cast<std::size_t>(out.rows * out.blocks_per_row()), 0);
  return out;
}

/// A block's elements as some dialects ask for them: +0 beyond the matrix.
struct Elements {
  const Values& x;
  const Window& window;
  int rows;
  Number operator()(int r, int j) const {
    const std::int64_t row = window.row + r, col = window.col + j;
    return Number(row < window.row_end && col < window.col_end ? x.at(row, col) : 0);
  }
};

template <class Dialect, class Tensor>
BlockScale<Number> block_scale(const Values& x, const Window& w, const Tensor& tensor, int block_rows) {
  const Number largest(amax(x, w, Dialect::info.nan_in_block_amax));
  if constexpr (requires(const Elements& elements) { Dialect::block(largest, tensor, elements); })
    return Dialect::block(largest, tensor, Elements{x, w, block_rows});
  else
    return Dialect::block(largest, tensor);
}

/// The random byte of element (i, j): by position, or as the caller gave it.
inline Code random_byte(const BlockScaledTensor& out, std::int64_t i, std::int64_t j) {
  const Stochastic& s = *out.spec.stochastic;
  const std::int64_t words_per_row = (out.cols + 15) / 16 * 4;
  const std::uint32_t word = s.from_caller ? s.words[static_cast<std::size_t>(i * words_per_row + j / 4)]
                                           : draw(s.random, i, j / 16)[static_cast<std::size_t>(j % 16 / 4)];
  return Code(word >> (8 * byte_of(s.map, static_cast<int>(j % 4))) & 0xFF);
}

template <class Dialect, class Tensor>
Code element(const Values& x, std::int64_t i, std::int64_t j, Number encode, const Tensor& tensor,
             const BlockScaledTensor& out) {
  const Number value(x.at(i, j));
  if constexpr (Dialect::info.stochastic)
    if (out.spec.stochastic)
      return e2m1_stochastic(Dialect::scaled(value, encode, tensor), random_byte(out, i, j),
                             out.spec.stochastic->rule);
  return Dialect::element(value, encode, tensor);
}

template <class Dialect, class Tensor>
void quantize_block(const Values& x, const Window& w, const Tensor& tensor, std::int64_t block_col,
                    BlockScaledTensor& out) {
  const BlockScale<Number> scale = block_scale<Dialect>(x, w, tensor, out.spec.block.rows);
  for (std::int64_t i = w.row; i < w.row_end; ++i) {
    out.scales[static_cast<std::size_t>(i * out.blocks_per_row() + block_col)] =
        static_cast<std::uint8_t>(scale.code.bits);
    for (std::int64_t j = w.col; j < w.col_end; ++j)
      put_code(out, i, j, element<Dialect>(x, i, j, scale.encode, tensor, out));
  }
}

/// The blocks that share a second-level scale.
template <class Dialect>
void quantize_shared(const Values& x, const Window& shared, BlockScaledTensor& out) {
  const QuantizeSpec& spec = out.spec;
  const Number largest(spec.amax ? *spec.amax : amax(x, shared, Dialect::info.nan_in_tensor_amax));
  const auto tensor = Dialect::tensor(largest, setting(spec, out.dtype));
  if constexpr (Dialect::info.global_is != GlobalIs::none) out.global.push_back(settled(tensor.global));
  for (std::int64_t row = shared.row; row < shared.row_end; row += spec.block.rows)
    for (std::int64_t col = shared.col; col < shared.col_end; col += spec.block.cols) {
      const Window block{row, std::min(row + spec.block.rows, x.rows), col,
                         std::min(col + spec.block.cols, x.cols)};
      quantize_block<Dialect>(x, block, tensor, col / spec.block.cols, out);
    }
}

template <class Dialect>
BlockScaledTensor quantize_as(MatrixView view, const QuantizeSpec& spec) {
  const Values x = widen(view);
  BlockScaledTensor out = empty_result(view, spec);
  const bool per_row = spec.tensor_scale == TensorScale::row;
  if (!per_row) quantize_shared<Dialect>(x, {0, x.rows, 0, x.cols}, out);
  const std::int64_t count = out.globals_per_row(), outer = Dialect::info.outer_cols;
  for (std::int64_t n = 0; per_row && n < x.rows * count; ++n) {
    const std::int64_t row = n / count, col = n % count * outer;
    quantize_shared<Dialect>(x, {row, row + 1, col, outer ? std::min(col + outer, x.cols) : x.cols}, out);
  }
  if (out.spec.stochastic) out.spec.stochastic->words = {};
  return out;
}

template <class Dialect>
Matrix dequantize_as(const BlockScaledTensor& t) {
  Matrix out(t.rows, t.cols);
  for (std::int64_t i = 0; i < t.rows; ++i)
    for (std::int64_t j = 0; j < t.cols; ++j) {
      const std::uint8_t scale =
          t.scales[static_cast<std::size_t>(i * t.blocks_per_row() + j / t.spec.block.cols)];
      const Number value = Dialect::dequantize(Number(decode(get_code(t, i, j).bits, Dialect::info.element)),
                                               Number(decode(scale, scale_format(Dialect::info))),
                                               Number(t.global_at(i, j)), setting(t.spec, t.dtype));
      out.f32()[i * t.cols + j] = settled(value);
    }
  return out;
}

}  // namespace nvfp4::reference
