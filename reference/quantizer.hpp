#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

#include <nvfp4/tensor.hpp>

#include "number.hpp"

/// The quantizer of any dialect, literally: amax, tensor step, block step, elements, one at a time
/// (reference/README.md, equations 2 to 6).
namespace nvfp4::reference {

/// A matrix of FP32 values; BF16 and FP16 are widened, which is exact.
struct Values {
  std::vector<float> data;
  std::int64_t rows, cols;
  float at(std::int64_t i, std::int64_t j) const { return data[static_cast<std::size_t>(i * cols + j)]; }
};

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
  out.codes[static_cast<std::size_t>(i * out.row_bytes() + j / 2)] |=
      static_cast<std::uint8_t>(code.bits << (j % 2 * 4));
}

inline Code get_code(const BlockScaledTensor& t, std::int64_t i, std::int64_t j) {
  return Code(t.codes[static_cast<std::size_t>(i * t.row_bytes() + j / 2)] >> (j % 2 * 4) & 15);
}

inline BlockScaledTensor empty_result(const Values& x, const QuantizeSpec& spec) {
  BlockScaledTensor out;
  out.spec = spec;
  out.rows = x.rows;
  out.cols = x.cols;
  out.codes.assign(static_cast<std::size_t>(out.rows * out.row_bytes()), 0);
  out.scales.assign(static_cast<std::size_t>(out.rows * out.blocks_per_row()), 0);
  return out;
}

/// The second-level scale of row i: its amax, whatever shares it.
inline float amax_of_row(const BlockScaledTensor& t, std::int64_t i) {
  return t.global[t.global.size() == 1 ? 0 : static_cast<std::size_t>(i)];
}

template <class Dialect>
void quantize_block(const Values& x, const Window& w, std::int64_t block_col, BlockScaledTensor& out) {
  const auto tensor = Dialect::tensor(Number(amax_of_row(out, w.row)));
  const auto scale = Dialect::block(Number(amax(x, w, Dialect::nan_in_amax)), tensor);
  for (std::int64_t i = w.row; i < w.row_end; ++i) {
    out.scales[static_cast<std::size_t>(i * out.blocks_per_row() + block_col)] =
        static_cast<std::uint8_t>(scale.code.bits);
    for (std::int64_t j = w.col; j < w.col_end; ++j)
      put_code(out, i, j, Dialect::element(Number(x.at(i, j)), scale.encode));
  }
}

template <class Dialect>
BlockScaledTensor quantize_as(MatrixView view, const QuantizeSpec& spec) {
  const Values x = widen(view);
  BlockScaledTensor out = empty_result(x, spec);
  const bool per_row = spec.tensor_scale == TensorScale::row;
  for (std::int64_t i = 0; i < (per_row ? x.rows : 1); ++i) {
    const Window shared = per_row ? Window{i, i + 1, 0, x.cols} : Window{0, x.rows, 0, x.cols};
    out.global.push_back(spec.amax ? *spec.amax : amax(x, shared, Dialect::nan_in_amax));
  }
  for (std::int64_t row = 0; row < x.rows; row += spec.block.rows)
    for (std::int64_t b = 0; b < out.blocks_per_row(); ++b) {
      const std::int64_t col = b * spec.block.cols;
      quantize_block<Dialect>(
          x, {row, std::min(row + spec.block.rows, x.rows), col, std::min(col + spec.block.cols, x.cols)}, b,
          out);
    }
  return out;
}

template <class Dialect>
Matrix dequantize_as(const BlockScaledTensor& t) {
  Matrix out(t.rows, t.cols);
  for (std::int64_t i = 0; i < t.rows; ++i)
    for (std::int64_t j = 0; j < t.cols; ++j) {
      const std::uint8_t scale =
          t.scales[static_cast<std::size_t>(i * t.blocks_per_row() + j / t.spec.block.cols)];
      const Number value =
          Dialect::dequantize(Number(decode(get_code(t, i, j).bits, Format::e2m1)),
                              Number(decode(scale, Format::e4m3)), Number(amax_of_row(t, i)));
      out.f32()[i * t.cols + j] = is_nan(value) ? default_nan() : value.value;
    }
  return out;
}

}  // namespace nvfp4::reference
