#include <algorithm>
#include <vector>

#include <nvfp4/kernels.hpp>

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

Format format_of(Dtype dtype) { return dtype == Dtype::bf16 ? Format::bf16 : Format::fp16; }

std::size_t count_of(MatrixView x) { return static_cast<std::size_t>(x.rows * x.cols); }

Matrix widened(MatrixView x, const Kernels& kernels) {
  Matrix out(x.rows, x.cols);
  const auto* bits = static_cast<const std::uint16_t*>(x.data);
  const std::vector<std::uint32_t> codes(bits, bits + count_of(x));
  kernels.decode(codes, format_of(x.dtype), {out.f32(), count_of(x)});
  return out;
}

}  // namespace

Matrix converted(MatrixView x, Dtype to, const Kernels& kernels) {
  if (x.dtype != Dtype::fp32 && x.dtype != to) return converted(widened(x, kernels).view(), to, kernels);
  Matrix out(x.rows, x.cols, to);
  if (x.dtype == to) {
    std::copy_n(static_cast<const std::byte*>(x.data), out.bytes.size(), out.bytes.begin());  // may be none
    return out;
  }
  std::vector<std::uint32_t> codes(count_of(x));
  kernels.encode({static_cast<const float*>(x.data), count_of(x)},
                 {.format = format_of(to), .overflow = Overflow::special}, codes);
  std::ranges::copy(codes, out.u16());
  return out;
}

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
