#pragma once
#include <algorithm>

#include "epilogue.cuh"
#include "formats.cuh"
#include "matrix.cuh"

namespace nvfp4::gpu {

/// A channel's mean. Rows are read 128 ahead of their additions, which must follow each other.
struct ColumnMean {
  Elements x;
  float share;  ///< 1 / tokens
  void* mean;

  NVFP4_HOST_DEVICE void operator()(std::int64_t col) const {
    constexpr int ahead = 128;
    float values[ahead], sum = 0;
    std::int64_t row = 0;
    for (; row + ahead <= x.rows; row += ahead) {
      NVFP4_UNROLL
      for (int i = 0; i < ahead; ++i) values[i] = x.at(row + i, col);
      NVFP4_UNROLL
      for (int i = 0; i < ahead; ++i) sum = sum + values[i];
    }
    for (; row < x.rows; ++row) sum = sum + x.at(row, col);
    store(mean, x.dtype, col, sum * share, Target::cuda);
  }
};

/// x - mean, of a band of rows of a channel.
struct MeanResidual {
  static constexpr int tall = 8;
  Elements x, mean;
  void* residual;

  NVFP4_HOST_DEVICE std::int64_t bands() const { return (x.rows + tall - 1) / tall; }
  NVFP4_HOST_DEVICE void operator()(std::int64_t band, std::int64_t col) const {
    const float subtrahend = mean.at(0, col);
    NVFP4_UNROLL
    for (int i = 0; i < tall; ++i)
      if (const std::int64_t row = band * tall + i; row < x.rows)
        store(residual, x.dtype, row * x.cols + col, x.at(row, col) - subtrahend, Target::cuda);
  }
};

inline ColumnMean column_mean(MatrixView x, void* mean) {
  return {elements(x, false), 1 / static_cast<float>(std::max<std::int64_t>(x.rows, 1)), mean};
}
inline MeanResidual mean_residual(MatrixView x, const void* mean, void* residual) {
  return {elements(x, false), elements({mean, 1, x.cols, x.dtype}, false), residual};
}

}  // namespace nvfp4::gpu
