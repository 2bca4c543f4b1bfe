#pragma once
#include <cmath>

#include "chon.hpp"
#include "gathered.cuh"

namespace nvfp4::gpu {

using ChonDialects = DialectList<dialects::te>;

/// R, its columns gathered where there are channels.
template <class D>
struct Residual {
  QuantizeTask q;
  const std::int64_t* channels;
  std::int64_t rows, cols;

  NVFP4_HOST_DEVICE float at(std::int64_t row, std::int64_t col) const {
    const std::int64_t channel = channels ? channels[col] : col;
    if (channel < 0) return 0;
    return q.x.at(row, channel) - dequantized<D>(q, row, channel);
  }
};

template <class D>
Residual<D> residual_of(const QuantizedOperand& o, const std::int64_t* channels, std::int64_t count) {
  QuantizeTask q = task_of(o.x, o.transposed, o.spec);
  q.out = o.q;
  return {q, channels, q.x.rows, channels ? count : q.x.cols};
}

/// A channel's share of the score. Rows are read 32 ahead of their additions, which must follow each other.
template <class D>
struct AddResidualScore {
  Residual<D> residual;
  double* scores;

  NVFP4_HOST_DEVICE void operator()(std::int64_t col) const {
    constexpr int ahead = 32;
    float values[ahead];
    double sum = 0;
    for (std::int64_t first = 0; first < residual.rows; first += ahead) {
      NVFP4_UNROLL
      for (int i = 0; i < ahead; ++i) {
        const float r = first + i < residual.rows ? residual.at(first + i, col) : 0;
        values[i] = r == r ? fabsf(r) : 0;
      }
      NVFP4_UNROLL
      for (int i = 0; i < ahead; ++i) sum += values[i];
    }
    scores[col] += sum / static_cast<double>(residual.rows);
  }
};

/// Block `at` of a band of rows as tall as blocks are.
template <class D>
struct QuantizeResidual {
  QuantizeTaskOf<Residual<D>> t;

  NVFP4_HOST_DEVICE void operator()(std::int64_t band, std::int64_t at) const {
    if (band == 0 && at == 0) *t.out.global = kept_global<D>(t, 0);
    quantize_as<D>(t, band * t.setting.block.rows, at, at);
  }
};

template <class D>
QuantizeResidual<D> quantize_residual_task(const QuantizedOperand& o, const std::int64_t* channels,
                                           std::int64_t count, const float* amax, const RandomBits& random,
                                           const TensorParts& out) {
  if (count % 16) throw std::invalid_argument("residuals are quantized in blocks of 16 channels");
  QuantizeSpec spec = o.spec;
  if (spec.stochastic) spec.stochastic->random = random;
  return {task_of(residual_of<D>(o, channels, count), spec, Dtype::fp32, count / 16, amax, out)};
}

struct CopyBlock {
  TensorParts from;
  std::int64_t from_blocks_per_row;
  const std::int64_t* blocks;
  TensorParts to;
  std::int64_t to_blocks_per_row, first;

  NVFP4_HOST_DEVICE void operator()(std::int64_t row, std::int64_t n) const {
    const std::int64_t source = row * from_blocks_per_row + blocks[n],
                       place = row * to_blocks_per_row + first + n;
    for (int i = 0; i < 8; ++i) to.codes[8 * place + i] = from.codes[8 * source + i];
    to.scales[place] = from.scales[source];
  }
};

}  // namespace nvfp4::gpu
