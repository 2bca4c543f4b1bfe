#pragma once
#include <cstdint>

#include "host_device.hpp"

namespace nvfp4::gpu {

/// Tiles of an MMA probe on the device: a code a word, k along the rows of A and B.
struct ProbeTiles {
  int rows, cols, k, block;  // block: elements that share a scale; 0: there are none
  const std::uint32_t *a, *b, *c;
  const std::uint8_t *a_scales, *b_scales;
  std::uint32_t* d;

  NVFP4_HOST_DEVICE std::uint32_t a_code(std::int64_t tile, int row, int at) const {
    return row < rows && at < k ? a[(tile * rows + row) * k + at] : 0;
  }
  NVFP4_HOST_DEVICE std::uint32_t b_code(std::int64_t tile, int col, int at) const {
    return col < cols && at < k ? b[(tile * cols + col) * k + at] : 0;
  }
  NVFP4_HOST_DEVICE int blocks() const { return block ? (k + block - 1) / block : 0; }
  NVFP4_HOST_DEVICE std::uint32_t a_scale(std::int64_t tile, int row, int at) const {
    return row < rows && at < blocks() ? a_scales[(tile * rows + row) * blocks() + at] : 0;
  }
  NVFP4_HOST_DEVICE std::uint32_t b_scale(std::int64_t tile, int col, int at) const {
    return col < cols && at < blocks() ? b_scales[(tile * cols + col) * blocks() + at] : 0;
  }
  NVFP4_HOST_DEVICE bool inside(int row, int col) const { return row < rows && col < cols; }
  NVFP4_HOST_DEVICE std::int64_t at(std::int64_t tile, int row, int col) const {
    return (tile * rows + row) * cols + col;
  }
};

/// A lane's registers. C and D are FP32, or two FP16 a register.
struct Fragments {
  std::uint32_t a[4], b[2], d[4], a_scales, b_scales;
};

/// One register's elements, from k on.
template <class I, class Code>
NVFP4_HOST_DEVICE std::uint32_t packed(Code code, int k) {
  std::uint32_t word = 0;
  for (int i = 0; i < 32 / I::bits; ++i) word |= code(k + i) << (I::bits * i + I::shift);
  return word;
}

/// The fragments of all m16n8 instructions (PTX ISA, matrix fragments): the two halves of K lie in registers 0, 1 and
/// 2, 3 of A, rows g and g + 8 in turn.
template <class I>
NVFP4_HOST_DEVICE void load(Fragments& x, const ProbeTiles& t, std::int64_t tile, int k0, int lane) {
  const int g = lane / 4, q = lane % 4, first = k0 + q * (32 / I::bits), scale = k0 / I::k * I::scales;
  for (int r = 0; r < 4; ++r)
    x.a[r] = packed<I>([&](int k) { return t.a_code(tile, g + r % 2 * 8, k); }, first + r / 2 * (I::k / 2));
  for (int r = 0; r < 2; ++r)
    x.b[r] = packed<I>([&](int k) { return t.b_code(tile, g, k); }, first + r * (I::k / 2));
  x.a_scales = x.b_scales = 0;
  for (int j = 0; j < I::scales; ++j) {
    x.a_scales |= t.a_scale(tile, g + q % 2 * 8, scale + j) << 8 * j;
    x.b_scales |= t.b_scale(tile, g, scale + j) << 8 * j;
  }
}

/// Launches tcgen05.mma of kind mxf4nvf4 on tiles of at most 128 x 128.
void probe_tcgen05(const ProbeTiles&, std::int64_t tiles);

}  // namespace nvfp4::gpu
