#include <algorithm>

#include <nvfp4/tensor.hpp>

namespace nvfp4 {
namespace {

template <class T>
void transpose_into(const T* in, T* out, std::int64_t rows, std::int64_t cols) {
  constexpr std::int64_t tile = 32;  // two tiles of FP32 stay in a 16 KiB corner of L1
#pragma omp parallel for schedule(static)
  for (std::int64_t j0 = 0; j0 < cols; j0 += tile)
    for (std::int64_t i0 = 0; i0 < rows; i0 += tile)
      for (std::int64_t j = j0; j < std::min(cols, j0 + tile); ++j)
        for (std::int64_t i = i0; i < std::min(rows, i0 + tile); ++i) out[j * rows + i] = in[i * cols + j];
}

}  // namespace

Matrix transpose(MatrixView x) {
  Matrix out(x.cols, x.rows, x.dtype);
  if (x.dtype == Dtype::fp32)
    transpose_into(static_cast<const std::uint32_t*>(x.data),
                   reinterpret_cast<std::uint32_t*>(out.bytes.data()), x.rows, x.cols);
  else
    transpose_into(static_cast<const std::uint16_t*>(x.data), out.u16(), x.rows, x.cols);
  return out;
}

}  // namespace nvfp4
