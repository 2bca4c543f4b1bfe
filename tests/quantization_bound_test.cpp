#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>

#include <nvfp4/nvfp4.hpp>

#include "tests/exactly.hpp"
#include "tests/scattered.hpp"

/// What quantization changes, element by element and in products, against its bounds.
using namespace nvfp4;
using exact_integers::cpp_int, exact_integers::exactly;

namespace {

QuantizeSpec spec_of(const char* dialect) { return default_spec(*find_dialect(dialect)); }

double value_of(std::uint32_t code, Format format) {
  float value = 0;
  reference_kernels().decode({&code, 1}, format, {&value, 1});
  return value;
}

/// One element of a quantized tensor and of what it was made from.
struct Element {
  double x, code, scale, unit, block_amax;
  std::uint8_t scale_byte;
  double error() const { return std::abs(x - code * scale * unit); }
};

double input(MatrixView x, std::int64_t i) {
  if (x.dtype == Dtype::fp32) return static_cast<const float*>(x.data)[i];
  return value_of(static_cast<const std::uint16_t*>(x.data)[i],
                  x.dtype == Dtype::bf16 ? Format::bf16 : Format::fp16);
}

/// The largest |x| of the element's block.
double amax_of(MatrixView x, const BlockShape& block, std::int64_t row, std::int64_t col) {
  double amax = 0;
  const std::int64_t first = row / block.rows * block.rows, left = col / block.cols * block.cols;
  for (std::int64_t i = first; i < std::min(first + block.rows, x.rows); ++i)
    for (std::int64_t j = left; j < std::min(left + block.cols, x.cols); ++j)
      amax = std::max(amax, std::abs(input(x, i * x.cols + j)));
  return amax;
}

Element element(MatrixView x, const BlockScaledTensor& t, std::int64_t row, std::int64_t col) {
  const Dialect& d = *t.spec.dialect;
  const bool nibbles = info(d.element).bits == 4;
  const std::uint8_t byte =
      t.codes[static_cast<std::size_t>(row * t.row_bytes() + (nibbles ? col / 2 : col))];
  Element e{};
  e.x = input(x, row * x.cols + col);
  e.code = value_of(nibbles ? byte >> (col % 2 * 4) & 15u : byte, d.element);
  e.scale_byte = t.scales[static_cast<std::size_t>(row * t.blocks_per_row() + col / t.spec.block.cols)];
  e.scale = value_of(e.scale_byte, d.scale);
  e.unit = tensor_scale(t, row);
  e.block_amax = amax_of(x, t.spec.block, row, col);
  return e;
}

struct Found {
  std::int64_t elements = 0, beyond_amax = 0, beyond_given = 0, beyond_scale = 0, beyond_tensor = 0;
  double worst = 0;  ///< the largest error over its bound from block amax and scale
};

Found held(MatrixView x, const QuantizeSpec& spec) {
  const BlockScaledTensor t = cpu_kernels().quantize(x, spec, {});
  const float amax = cpu_kernels().amax(x, *spec.dialect);
  const TensorBound whole = tensor_bound(spec, amax);
  Found found;
  for (std::int64_t row = 0; row < x.rows; ++row)
    for (std::int64_t col = 0; col < x.cols; ++col) {
      const Element e = element(x, t, row, col);
      const double most = largest_amax(spec, e.scale_byte, x.dtype) * e.unit;
      const double given = element_bound(spec, e.block_amax, e.scale * e.unit, x.dtype).worst;
      ++found.elements;
      found.beyond_amax += e.block_amax > most;
      found.beyond_given += e.error() > given;
      found.beyond_scale += e.error() > element_bound(spec, most, e.scale * e.unit, x.dtype).worst;
      found.beyond_tensor += spec.tensor_scale == TensorScale::tensor && e.error() > whole.element.worst;
      if (given > 0) found.worst = std::max(found.worst, e.error() / given);
    }
  return found;
}

}  // namespace

TEST_CASE("quantization bound: holds in every dialect, block shape and input type, wide or narrow") {
  for (const Dialect* d : all_dialects())
    for (const Dtype dtype : {Dtype::fp32, Dtype::bf16, Dtype::fp16})
      for (const std::uint32_t exponents : {3u, 14u}) {
        const std::uint32_t least = dtype == Dtype::fp16 ? 8 : 120;
        const Matrix x = scattered::matrix(32, 64, dtype, {.least = least, .exponents = exponents});
        for (const BlockShape block : {BlockShape{1, d->block_cols}, BlockShape{16, 16}}) {
          QuantizeSpec spec = default_spec(*d);
          spec.block = block;
          if (d->per_row && block.rows > 1) continue;
          if (d->block_cols != 16 && block.rows > 1) continue;
          const Found found = held(x.view(), spec);
          CAPTURE(d->name);
          CAPTURE(name(dtype));
          CAPTURE(exponents);
          CAPTURE(block_name(block));
          CAPTURE(found.worst);
          CHECK(found.beyond_amax == 0);
          CHECK(found.beyond_given == 0);
          CHECK(found.beyond_scale == 0);
          CHECK(found.beyond_tensor == 0);
          CHECK(found.worst > 0.8);
        }
      }
}
