#include "hadamard.hpp"

#include <span>

#include "quantizer.hpp"

namespace nvfp4::reference {
namespace {

/// diag(sign) H c.
struct Entries {
  SignWords signs;
  float c;
  float operator()(int k, int j) const { return is_negative(signs, k, j) ? negated(c) : c; }
};

/// IEEE binary32 a * b + c with one rounding, for b finite and nonzero.
float fused_multiply_add(float a, float b, float c) {
  if (is_nan(a) || is_nan(c) || is_inf(a) || is_inf(c)) return add(multiply(a, b), c);
  const Dyadic sum = exact(a) * exact(b) + exact(c);
  const bool zeros = is_zero(a) && is_zero(c);  // else an exact zero is +0, as in add()
  return zeros ? add(with_product_sign(0, a, b), c) : round_to_fp32(sum);
}

float fma_chain(std::span<const float> x, const Entries& h, int j) {
  float sum = 0;
  for (int k = 0; k < static_cast<int>(x.size()); ++k)
    sum = fused_multiply_add(x[static_cast<std::size_t>(k)], h(k, j), sum);
  return sum;
}

bool is_special(float x) { return is_nan(x) || is_inf(x); }

/// What wins over all numbers: the sum of the terms that are Inf or NaN, +0 if there are none.
float special_sum(std::span<const float> x, const Entries& h, int first, int j) {
  float sum = 0;
  for (int k = 0; k < static_cast<int>(x.size()); ++k) {
    const float product = multiply(x[static_cast<std::size_t>(k)], h(first + k, j));
    if (is_special(product)) sum = add(sum, product);
  }
  return sum;
}

Dyadic product(float x, float entry) { return exact(x) * exact(entry); }

float exact_sum(std::span<const float> x, const Entries& h, int j) {
  if (const float special = special_sum(x, h, 0, j); !is_zero(special)) return special;
  Dyadic sum;
  for (int k = 0; k < static_cast<int>(x.size()); ++k)
    sum = sum + product(x[static_cast<std::size_t>(k)], h(k, j));
  return round_to_fp32(sum);
}

/// The exponent of a factor as the hardware takes it: subnormals stand at the smallest one. A product's is the sum
/// of its factors': its significand is not normalised.
int stored_exponent(float x) {
  const int field = static_cast<int>(std::bit_cast<std::uint32_t>(x) >> 23 & 0xFF);
  return std::max(field, 1) - 127;
}

/// The multiple of 2^unit next to x towards zero.
cpp_int cut(const Dyadic& x, int unit) {
  const int shift = x.exponent - unit;
  const cpp_int magnitude = abs(x.significand);
  const cpp_int kept = shift >= 0 ? cpp_int(magnitude << shift) : cpp_int(magnitude >> -shift);
  return x.significand < 0 ? cpp_int(-kept) : kept;
}

/// Up to 16 products and the sum so far aligned to their largest exponent and cut to 25 bits below it, an exact
/// sum, and FP32 by truncation. A zero counts for nothing.
float tensor_core_step(std::span<const float> x, const Entries& h, int first, int j, float so_far) {
  constexpr int fraction_bits = 25, zero_exponent = -133;
  float special = special_sum(x, h, first, j);
  if (is_special(so_far)) special = add(special, so_far);
  if (!is_zero(special)) return special;
  int top = is_zero(so_far) ? zero_exponent : stored_exponent(so_far);
  for (const float element : x)
    if (!is_zero(element)) top = std::max(top, stored_exponent(element) + stored_exponent(h.c));
  const int unit = top - fraction_bits;
  cpp_int sum = cut(exact(so_far), unit);
  for (int k = 0; k < static_cast<int>(x.size()); ++k)
    sum += cut(product(x[static_cast<std::size_t>(k)], h(first + k, j)), unit);
  return truncate_to_fp32({sum, unit});
}

float tensor_core(std::span<const float> x, const Entries& h, int j) {
  float sum = 0;
  for (std::size_t first = 0; first < x.size(); first += 16)
    sum = tensor_core_step(x.subspan(first, std::min<std::size_t>(16, x.size() - first)), h,
                           static_cast<int>(first), j, sum);
  return sum;
}

float output(std::span<const float> x, const Entries& entries, HadamardSum sum, int j) {
  switch (sum) {
    case HadamardSum::fma_chain: return fma_chain(x, entries, j);
    case HadamardSum::tensor_core: return tensor_core(x, entries, j);
    case HadamardSum::exact: return exact_sum(x, entries, j);
  }
  return 0;
}

void put(Matrix& out, std::int64_t i, float y) {
  if (out.dtype == Dtype::fp32) {
    out.f32()[i] = settled(Number(y));
    return;
  }
  const Format format = out.dtype == Dtype::bf16 ? Format::bf16 : Format::fp16;
  out.u16()[i] = static_cast<std::uint16_t>(
      encode(settled(Number(y)), {.format = format, .overflow = Overflow::special, .target = Target::torch}));
}

}  // namespace

Matrix hadamard(MatrixView x, const Hadamard& h) {
  validate(h, x.rows, x.cols);
  const Values values = widen(x);
  const Entries entries{sign_words(h), hadamard_entry(h.size, x.dtype)};
  Matrix out(x.rows, x.cols, h.rounded ? x.dtype : Dtype::fp32);
  std::vector<float> group(static_cast<std::size_t>(h.size));
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t j = 0; j < x.cols; ++j) {
      const auto place = static_cast<int>((h.along == Along::row ? j : i) % h.size);
      for (int k = 0; k < h.size; ++k)
        group[static_cast<std::size_t>(k)] =
            h.along == Along::row ? values.at(i, j - place + k) : values.at(i - place + k, j);
      put(out, i * x.cols + j, output(group, entries, h.sum, place));
    }
  return out;
}

}  // namespace nvfp4::reference
