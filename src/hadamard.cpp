#include "hadamard.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <span>
#include <stdexcept>

#include <nvfp4/kernels.hpp>

#include "float_environment.hpp"
#include "formats.hpp"

namespace nvfp4::cpu {
namespace {

float fma_chain(const float* x, const Hadamard& h, int j) {
  float sum = 0;
  for (int k = 0; k < 16; ++k) sum = std::fma(x[k], is_negative(h, k, j) ? -0.25f : 0.25f, sum);
  return sum;
}

/// A finite element as an integer times 2^(exponent - 150), the exponent field of subnormals being 1.
struct Unpacked {
  std::int64_t magnitude;
  int exponent;
  bool negative;
};

Unpacked unpack(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const int field = static_cast<int>(bits >> 23 & 0xFF);
  const std::int64_t fraction = bits & 0x7FFFFF;
  return {field ? fraction | 0x800000 : fraction, std::max(field, 1), bits >> 31 != 0};
}

/// The sum has at most 30 bits and is a multiple of its unit: above FP32's smallest step, one division by a power
/// of two and one truncation finish.
float truncated(std::int64_t sum, int unit_exponent) {
  const std::uint64_t magnitude = static_cast<std::uint64_t>(sum < 0 ? -sum : sum);
  if (magnitude == 0) return 0;
  const int top = 63 - std::countl_zero(magnitude) + unit_exponent;
  const int ulp = std::max(top - 23, -149);
  const int shift = ulp - unit_exponent;
  const std::uint64_t cut = shift > 0 ? magnitude >> std::min(shift, 63) : magnitude << -shift;
  const auto kept = static_cast<std::int64_t>(cut);  // an integer: what is cut to zero is +0, of either sign
  return static_cast<float>(std::ldexp(static_cast<double>(sum < 0 ? -kept : kept), ulp));
}

/// One step of the tensor core (tensorcore.md 7) over x(k) * (+-1/4): alignment to the largest exponent, 25
/// fraction bits, truncation. A product's unit is 2^(exponent - 152), and its exponent field - 129.
float tensor_core(const float* x, const Hadamard& h, int j) {
  constexpr int fraction_bits = 25, zero_exponent = -133;
  int top = zero_exponent;
  float special = 0;
  for (int k = 0; k < 16; ++k) {
    if (!std::isfinite(x[k])) special += is_negative(h, k, j) ? -x[k] : x[k];
    if (x[k] != 0) top = std::max(top, unpack(x[k]).exponent - 129);
  }
  if (special != 0) return special;  // Inf, or NaN, which equals nothing
  std::int64_t sum = 0;
  for (int k = 0; k < 16; ++k) {
    const Unpacked u = unpack(x[k]);
    const int shift = u.exponent - 152 - (top - fraction_bits);
    const std::int64_t cut = shift >= 0 ? u.magnitude << shift : u.magnitude >> std::min(-shift, 63);
    sum += u.negative != is_negative(h, k, j) ? -cut : cut;
  }
  return truncated(sum, top - fraction_bits);
}

Format format_of(Dtype dtype) { return dtype == Dtype::bf16 ? Format::bf16 : Format::fp16; }

/// Elements [first, first + 16), widened.
void load_group(MatrixView x, std::int64_t first, std::span<float, 16> group) {
  if (x.dtype == Dtype::fp32) {
    std::copy_n(static_cast<const float*>(x.data) + first, 16, group.begin());
    return;
  }
  std::array<std::uint32_t, 16> codes;
  std::copy_n(static_cast<const std::uint16_t*>(x.data) + first, 16, codes.begin());
  decode(codes, format_of(x.dtype), group);
}

/// Rounded to the element type; every NaN as its default one.
void store_group(std::span<float, 16> group, Matrix& out, std::int64_t first) {
  for (float& y : group)
    if (std::isnan(y)) y = std::bit_cast<float>(0x7FC00000u);
  if (out.dtype == Dtype::fp32) {
    std::ranges::copy(group, out.f32() + first);
    return;
  }
  std::array<std::uint32_t, 16> codes;
  encode(group, {.format = format_of(out.dtype), .overflow = Overflow::special, .target = Target::torch},
         codes);
  std::ranges::copy(codes, out.u16() + first);
}

}  // namespace

Matrix hadamard(MatrixView x, const Hadamard& h) {
  if (x.cols % 16) throw std::invalid_argument("a Hadamard transform of 16 needs columns in multiples of 16");
  Matrix out(x.rows, x.cols, h.rounded ? x.dtype : Dtype::fp32);
  const std::int64_t groups = x.rows * x.cols / 16;
#pragma omp parallel num_threads(threads())
  {
    const FloatEnvironment fenced;
#pragma omp for schedule(static)
    for (std::int64_t g = 0; g < groups; ++g) {
      std::array<float, 16> in, transformed;
      load_group(x, 16 * g, in);
      for (int j = 0; j < 16; ++j)
        transformed[j] =
            h.sum == HadamardSum::fma_chain ? fma_chain(in.data(), h, j) : tensor_core(in.data(), h, j);
      store_group(transformed, out, 16 * g);
    }
  }
  return out;
}

}  // namespace nvfp4::cpu
