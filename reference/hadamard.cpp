#include "hadamard.hpp"

#include <span>
#include <vector>

#include "accumulate.hpp"
#include "quantizer.hpp"

namespace nvfp4::reference {
namespace {

/// diag(sign) H c.
struct Entries {
  SignWords signs;
  float c;
  float operator()(int k, int j) const { return is_negative(signs, k, j) ? negated(c) : c; }
};

float fma_chain(std::span<const float> x, const Entries& h, int j) {
  float sum = 0;
  for (int k = 0; k < static_cast<int>(x.size()); ++k)
    sum = multiply_add(x[static_cast<std::size_t>(k)], h(k, j), sum);
  return sum;
}

bool is_special(float x) { return is_nan(x) || is_inf(x); }

/// What wins over all numbers: the sum of the terms that are Inf or NaN, +0 if there are none.
float special_sum(std::span<const float> x, const Entries& h, int j) {
  float sum = 0;
  for (int k = 0; k < static_cast<int>(x.size()); ++k) {
    const float product = multiply(x[static_cast<std::size_t>(k)], h(k, j));
    if (is_special(product)) sum = add(sum, product);
  }
  return sum;
}

Dyadic product(float x, float entry) { return exact(x) * exact(entry); }

float exact_sum(std::span<const float> x, const Entries& h, int j) {
  if (const float special = special_sum(x, h, j); !is_zero(special)) return special;
  Dyadic sum;
  for (int k = 0; k < static_cast<int>(x.size()); ++k)
    sum = sum + product(x[static_cast<std::size_t>(k)], h(k, j));
  return round_to_fp32(sum);
}

/// The BF16 tensor core of sm_90 and sm_100 (accumulate.hpp) on a row of x and a column of the matrix, in steps of 16
/// of which zeros fill up the last. FP32 and FP16 numbers are taken by their FP32 exponents.
float tensor_core(std::span<const float> x, const Entries& h, int j) {
  constexpr Accumulation core{.name = {}, .k = 16, .step = 16, .fraction_bits = 25, .zero_exponent = -133};
  const auto number = [](float value) { return factor(std::bit_cast<std::uint32_t>(value), fp32_fields); };
  std::vector<Product> products(std::max<std::size_t>(x.size(), 16), {number(0), number(0), {}, {}});
  for (std::size_t k = 0; k < x.size(); ++k)
    products[k] = {number(x[k]), number(h(static_cast<int>(k), j)), {}, {}};
  return std::bit_cast<float>(static_cast<std::uint32_t>(aligned(products, 0, core)));
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
