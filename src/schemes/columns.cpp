#include "columns.hpp"

#include <cstring>

#include <nvfp4/kernels.hpp>

namespace nvfp4::scheme {

Matrix gathered(MatrixView x, std::span<const std::int64_t> order) {
  Matrix out(x.rows, static_cast<std::int64_t>(order.size()), x.dtype);
  const auto size = static_cast<std::int64_t>(size_of(x.dtype));
  std::byte* to = out.bytes.data();
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (const std::int64_t j : order) {
      if (j >= 0)
        std::memcpy(to, static_cast<const std::byte*>(x.data) + (i * x.cols + j) * size,
                    static_cast<std::size_t>(size));
      to += size;
    }
  return out;
}

Matrix difference(const Matrix& x, const Matrix& y, const Kernels& kernels) {
  return kernels.add_output(converted(x.view(), Dtype::fp32, kernels), -1, y.view());
}

BlockScaledTensor joined(std::span<const BlockColumn> columns) {
  const BlockScaledTensor& first = *columns[0].of;
  BlockScaledTensor out{.spec = first.spec, .dtype = first.dtype, .rows = first.rows};
  out.cols = 16 * static_cast<std::int64_t>(columns.size());
  out.global = first.global;
  for (std::int64_t i = 0; i < out.rows; ++i)
    for (const auto& [of, block] : columns) {
      const auto code = of->codes.begin() + i * of->row_bytes() + block * 8;
      out.codes.insert(out.codes.end(), code, code + 8);
      out.scales.push_back(of->scales[static_cast<std::size_t>(i * of->blocks_per_row() + block)]);
    }
  return out;
}

}  // namespace nvfp4::scheme
