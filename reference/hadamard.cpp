#include "hadamard.hpp"

#include <stdexcept>

#include "quantizer.hpp"

namespace nvfp4::reference {
namespace {

/// IEEE binary32 a * b + c with one rounding, for b finite and nonzero.
float fused_multiply_add(float a, float b, float c) {
  if (is_nan(a) || is_nan(c) || is_inf(a) || is_inf(c)) return add(multiply(a, b), c);
  const Dyadic sum = exact(a) * exact(b) + exact(c);
  const bool zeros = is_zero(a) && is_zero(c);  // else an exact zero is +0, as in add()
  return zeros ? add(with_product_sign(0, a, b), c) : round_to_fp32(sum);
}

float fma_chain(const float* x, const Hadamard& h, int j) {
  float sum = 0;
  for (int k = 0; k < 16; ++k) sum = fused_multiply_add(x[k], is_negative(h, k, j) ? -0.25f : 0.25f, sum);
  return sum;
}

/// The exponent of a product as the hardware takes it: subnormals stand at the smallest one, the product's
/// significand is not normalised, and a zero product counts for nothing.
int product_exponent(float x) {
  const int field = static_cast<int>(std::bit_cast<std::uint32_t>(x) >> 23 & 0xFF);
  return std::max(field, 1) - 127 - 2;
}

/// Products aligned to their largest exponent and cut to 25 bits below it, an exact sum, and FP32 by truncation
/// (tensorcore.md 7, with an accumulator of zero).
float tensor_core(const float* x, const Hadamard& h, int j) {
  constexpr int fraction_bits = 25, zero_exponent = -133;
  int top = zero_exponent;
  float special = 0;  // Inf or NaN wins over all numbers
  for (int k = 0; k < 16; ++k) {
    const float product = multiply(x[k], is_negative(h, k, j) ? -0.25f : 0.25f);
    if (is_nan(product) || is_inf(product)) special = add(special, product);
    if (!is_zero(x[k])) top = std::max(top, product_exponent(x[k]));
  }
  if (!is_zero(special)) return special;
  cpp_int sum = 0;
  const int unit = top - fraction_bits;
  for (int k = 0; k < 16; ++k) {
    const Dyadic product = exact(x[k]) * Dyadic{is_negative(h, k, j) ? -1 : 1, -2};
    const int shift = product.exponent - unit;
    const cpp_int magnitude = abs(product.significand);
    const cpp_int cut = shift >= 0 ? cpp_int(magnitude << shift) : cpp_int(magnitude >> -shift);
    sum += product.significand < 0 ? cpp_int(-cut) : cut;
  }
  return truncate_to_fp32({sum, unit});
}

}  // namespace

Matrix hadamard(MatrixView x, const Hadamard& h) {
  if (x.cols % 16) throw std::invalid_argument("a Hadamard transform of 16 needs columns in multiples of 16");
  const Values values = widen(x);
  const Format format = x.dtype == Dtype::bf16 ? Format::bf16 : Format::fp16;
  Matrix out(x.rows, x.cols, h.rounded ? x.dtype : Dtype::fp32);
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) {
    const float* group = values.data.data() + i / 16 * 16;
    const int j = static_cast<int>(i % 16);
    const float y = h.sum == HadamardSum::fma_chain ? fma_chain(group, h, j) : tensor_core(group, h, j);
    if (out.dtype == Dtype::fp32)
      out.f32()[i] = settled(Number(y));
    else
      out.u16()[i] = static_cast<std::uint16_t>(encode(
          settled(Number(y)), {.format = format, .overflow = Overflow::special, .target = Target::torch}));
  }
  return out;
}

}  // namespace nvfp4::reference
