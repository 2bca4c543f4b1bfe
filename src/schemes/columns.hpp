#pragma once
#include <cstdint>
#include <span>

#include <nvfp4/tensor.hpp>

namespace nvfp4 {
struct Kernels;
}

/// Channels and blocks of channels, put in another order.
namespace nvfp4::scheme {

/// n rounded up to a multiple.
constexpr std::int64_t up(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/// Column j of the result is column order[j] of x, or zeros where that is -1.
Matrix gathered(MatrixView x, std::span<const std::int64_t> order);

/// x - y, FP32.
Matrix difference(const Matrix& x, const Matrix& y, const Kernels&);

/// A block of 16 columns in each row.
struct BlockColumn {
  const BlockScaledTensor* of;
  std::int64_t block;
};

/// E2M1 tensors of as many rows, under the first one's second-level scale.
BlockScaledTensor joined(std::span<const BlockColumn>);

}  // namespace nvfp4::scheme
