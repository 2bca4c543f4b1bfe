#include "accumulate.hpp"

#include <algorithm>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>

#include "formats.hpp"

/// Tensor cores by definition: the steps of tensorcore.md 7, one after another, on exact numbers.
namespace nvfp4::reference {
namespace {

/// An accumulator's format, and how a sum becomes a number of it.
struct Target {
  Fields format;
  int kept_bits;  ///< fraction bits that a result may have
  bool to_nearest;
  std::uint64_t nan;

  std::uint64_t infinity() const { return std::uint64_t(format.max_exponent()) << format.mantissa_bits; }
  std::uint64_t sign() const { return std::uint64_t{1} << (format.exponent_bits + format.mantissa_bits); }
};

Target target(Conversion out) {
  switch (out) {
    case Conversion::rz_fp32: return {fp32_fields, 23, false, 0x7FFFFFFF};
    case Conversion::rz_e8m13: return {fp32_fields, 13, false, 0x7FFFFFFF};
    case Conversion::rne_fp16: return {fp16_fields, 10, true, 0x7FFF};
    case Conversion::rne_fp32: break;
  }
  return {fp32_fields, 23, true, 0x7FFFFFFF};
}

constexpr Target fp64{fp64_fields, 52, true, 0x7FF8000000000000};

cpp_int rounded(const cpp_int& magnitude, int shift, bool to_nearest) {
  if (to_nearest) return round_half_even(magnitude, shift);
  return shift > 0 ? cpp_int(magnitude >> shift) : cpp_int(magnitude << -shift);
}

/// The code of |x|, rounded; beyond the largest finite number infinity.
std::uint64_t magnitude_code(const Dyadic& x, const Target& t) {
  if (x.significand == 0) return 0;
  const cpp_int magnitude = abs(x.significand);
  const int smallest = 1 - t.format.bias;
  const int top = std::max(static_cast<int>(msb(magnitude)) + x.exponent, smallest);
  const cpp_int kept = rounded(magnitude, top - t.kept_bits - x.exponent, t.to_nearest);
  // The hidden bit adds one to the exponent field, and so does a carry out of rounding.
  const cpp_int code =
      (kept << (t.format.mantissa_bits - t.kept_bits)) + (cpp_int(top - smallest) << t.format.mantissa_bits);
  return std::min(code, cpp_int(t.infinity())).convert_to<std::uint64_t>();
}

/// A result of zero is +0, whatever was rounded to it.
std::uint64_t code_of(const Dyadic& x, const Target& t) {
  const std::uint64_t code = magnitude_code(x, t);
  return x.significand < 0 && code != 0 ? code | t.sign() : code;
}

/// Step 1: what a NaN or infinity among the inputs makes of the output.
std::optional<std::uint64_t> special(std::span<const Product> products, const Factor& c, const Target& t) {
  bool nan = c.is_nan, plus = c.is_infinite && !c.negative, minus = c.is_infinite && c.negative;
  for (const Product& p : products) {
    nan = nan || p.is_nan();
    plus = plus || (p.is_infinite() && !p.negative());
    minus = minus || (p.is_infinite() && p.negative());
  }
  if (nan || (plus && minus)) return t.nan;
  if (plus) return t.infinity();
  if (minus) return t.infinity() | t.sign();
  return std::nullopt;
}

/// What is aligned: a group's exact dot product, a single product, or C.
struct Term {
  Dyadic value;
  int exponent;
  bool is_minus_zero;
};

Dyadic sum_of(std::span<const Product> products) {
  Dyadic sum;
  for (const Product& p : products) sum = sum + p.value();
  return sum;
}

bool is_zero_term(const Dyadic& value, bool zero_products, ZeroRule rule) {
  if (rule == ZeroRule::never) return false;
  return rule == ZeroRule::zero_sum ? value.significand == 0 : zero_products;
}

Term term(std::span<const Product> group, const Accumulation& acc) {
  const Dyadic value = sum_of(group);
  const bool zeros = std::ranges::all_of(group, &Product::is_zero);
  const int exponent = acc.align == Align::group ? group[0].scale_exponent() : group[0].exponent();
  return {value, is_zero_term(value, zeros, acc.zero_rule) ? acc.zero_exponent : exponent,
          zeros && std::ranges::all_of(group, &Product::negative)};
}

Term term(const Factor& c, const Accumulation& acc) {
  const bool zero = is_zero_term(c.value(), c.is_zero(), acc.zero_rule);
  return {c.value(), zero ? acc.zero_exponent : c.exponent, c.is_zero() && c.negative};
}

/// Step 4: x in whole units of 2^unit.
cpp_int cut(const Dyadic& x, int unit, AlignRounding rounding) {
  const int shift = unit - x.exponent;
  const cpp_int magnitude = abs(x.significand);
  cpp_int whole = rounded(magnitude, shift, rounding == AlignRounding::nearest_even);
  const bool negative = x.significand < 0;
  const bool loses = shift > 0 && (whole << shift) != magnitude;
  if (rounding == AlignRounding::floor && negative && loses) ++whole;
  return negative ? cpp_int(-whole) : whole;
}

/// One step: the terms, their largest exponent, the cut, the exact sum, one conversion.
std::uint64_t aligned_step(std::span<const Product> products, const Factor& c, const Accumulation& acc) {
  const Target t = target(acc.out);
  if (const auto code = special(products, c, t)) return *code;
  std::vector<Term> terms{term(c, acc)};
  for (std::size_t k = 0; k < products.size(); k += static_cast<std::size_t>(acc.group))
    terms.push_back(term(products.subspan(k, static_cast<std::size_t>(acc.group)), acc));
  const int e_max = std::ranges::max_element(terms, {}, &Term::exponent)->exponent;
  const int unit = e_max - acc.fraction_bits;
  cpp_int sum = 0;
  for (const Term& x : terms) sum += cut(x.value, unit, acc.align_rounding);
  if (acc.minus_zero && std::ranges::all_of(terms, &Term::is_minus_zero)) return t.sign();
  return code_of({sum, unit}, t);
}

/// c + d as an ordinary addition rounds it.
std::uint64_t add_to_nearest(const Factor& c, const Factor& d, const Target& t) {
  const Product one_d{d, {}, {}, {}};
  if (const auto code = special({&one_d, 1}, c, t)) return *code;
  if (c.is_zero() && d.is_zero()) return c.negative && d.negative ? t.sign() : 0;
  return code_of(c.value() + d.value(), {t.format, t.format.mantissa_bits, true, t.nan});
}

/// Products in the order of the steps.
std::vector<Product> in_step_order(std::span<const Product> products, KOrder order) {
  std::vector<Product> sorted(products.begin(), products.end());
  if (order == KOrder::ascending) return sorted;
  const auto late = [&](std::size_t k) { return k % 4 >= 2; };
  std::size_t next = 0;
  for (const bool wanted : {false, true})
    for (std::size_t k = 0; k < products.size(); ++k)
      if (late(k) == wanted) sorted[next++] = products[k];
  return sorted;
}

}  // namespace

std::uint64_t aligned(std::span<const Product> products, std::uint64_t c, const Accumulation& acc) {
  const Target t = target(acc.out);
  const std::vector<Product> ordered = in_step_order(products, acc.k_order);
  const auto step = static_cast<std::size_t>(acc.step);
  std::uint64_t sum = acc.c_in_sum ? c : 0;
  for (std::size_t k = 0; k < ordered.size(); k += step)
    sum = aligned_step(std::span(ordered).subspan(k, step), factor(sum, t.format), acc);
  return acc.c_in_sum ? sum : add_to_nearest(factor(c, t.format), factor(sum, t.format), t);
}

namespace {

/// p = RNE of the exact sum, c = RZ of c + p.
std::uint64_t chunk(std::span<const Product> products, const Factor& c) {
  const Target nearest = target(Conversion::rne_fp32);
  if (const auto code = special(products, c, nearest)) return *code;
  const Factor p = factor(code_of(sum_of(products), nearest), fp32_fields);
  return code_of(c.value() + p.value(), target(Conversion::rz_fp32));
}

std::uint64_t exact_sum(std::span<const Product> products, const Factor& c) {
  const Target t = target(Conversion::rne_fp32);
  if (const auto code = special(products, c, t)) return *code;
  return code_of(sum_of(products) + c.value(), t);
}

/// IEEE: a product that is zero or rounds to it keeps its sign.
float rounded_product(const Product& p) {
  if (p.is_nan()) return default_nan();
  const float sign = p.negative() ? -1 : 1;
  if (p.is_infinite()) return with_product_sign(infinity(), sign, 1);
  return with_product_sign(round_to_fp32(p.value()), sign, 1);
}

std::uint64_t fp32_in_order(std::span<const Product> products, std::uint64_t c) {
  float sum = std::bit_cast<float>(static_cast<std::uint32_t>(c));
  for (const Product& p : products) sum = add(sum, rounded_product(p));
  return is_nan(sum) ? 0x7FFFFFFF : std::bit_cast<std::uint32_t>(sum);
}

/// IEEE binary64 a * b + c with one rounding; the sign of an exact zero as in add().
std::uint64_t fp64_fma(const Product& p, const Factor& c) {
  if (const auto code = special({&p, 1}, c, fp64)) return *code;
  const Dyadic sum = p.value() + c.value();
  if (sum.significand == 0) return c.is_zero() && c.negative && p.is_zero() && p.negative() ? fp64.sign() : 0;
  return magnitude_code(sum, fp64) | (sum.significand < 0 ? fp64.sign() : 0);
}

std::uint64_t instruction(std::span<const Product> products, std::uint64_t c, const Accumulation& acc) {
  switch (acc.sum) {
    case Summation::aligned: return aligned(products, c, acc);
    case Summation::chunks: return chunk(products, factor(c, fp32_fields));
    case Summation::exact: return exact_sum(products, factor(c, fp32_fields));
    case Summation::fp32_in_order: return fp32_in_order(products, c);
    case Summation::fp64_fma: return fp64_fma(products[0], factor(c, fp64_fields));
  }
  return 0;
}

/// An operand: rows x k elements, padded with zeros, and the scale of each (1 where there are none).
struct Operand {
  Operand(std::int64_t rows, std::int64_t k, const Fields& element)
      : k(k), elements(at(rows, 0), factor(0, element)), scales(at(rows, 0)) {}
  std::size_t at(std::int64_t row, std::int64_t col) const { return static_cast<std::size_t>(row * k + col); }
  std::int64_t k;
  std::vector<Factor> elements, scales;
};

/// Spreads a scale over its block; beyond the last block scales are zero codes.
void set_scales(Operand& x, std::span<const std::uint8_t> scales, std::int64_t blocks, int block,
                Format format) {
  for (std::size_t n = 0; n < x.scales.size(); ++n) {
    const auto row = static_cast<std::int64_t>(n) / x.k, b = static_cast<std::int64_t>(n) % x.k / block;
    x.scales[n] = factor(b < blocks ? scales[static_cast<std::size_t>(row * blocks + b)] : 0, format);
  }
}

/// `exact` has one instruction of all k.
std::int64_t instruction_k(const Accumulation& acc, std::int64_t k) {
  return acc.sum == Summation::exact ? std::max<std::int64_t>(k, 1) : acc.k;
}

std::int64_t padded_k(const Accumulation& acc, std::int64_t k) {
  const std::int64_t whole = instruction_k(acc, k);
  return (k + whole - 1) / whole * whole;
}

/// The accumulator after each instruction.
std::vector<std::uint64_t> chain(const Operand& a, std::int64_t i, const Operand& b, std::int64_t j,
                                 std::uint64_t c, std::int64_t k, const Accumulation& acc) {
  std::vector<std::uint64_t> sums;
  const std::int64_t whole = instruction_k(acc, k);
  std::vector<Product> products(static_cast<std::size_t>(whole));
  for (std::int64_t first = 0; first < a.k; first += whole) {
    for (std::int64_t l = 0; l < whole; ++l) {
      const std::size_t at_a = a.at(i, first + l), at_b = b.at(j, first + l);
      products[static_cast<std::size_t>(l)] = {a.elements[at_a], b.elements[at_b], a.scales[at_a],
                                               b.scales[at_b]};
    }
    c = instruction(products, c, acc);
    sums.push_back(c);
  }
  return sums;
}

std::uint64_t last(const std::vector<std::uint64_t>& sums) { return sums.empty() ? 0 : sums.back(); }

/// FP32 bits of an accumulator's code; FP16 is widened.
float value_of(std::uint64_t code, const Accumulation& acc) {
  const auto bits = static_cast<std::uint32_t>(code);
  if (acc.out != Conversion::rne_fp16) return std::bit_cast<float>(bits);
  return bits == 0x7FFF ? std::bit_cast<float>(0x7FFFFFFF) : decode(bits, Format::fp16);
}

Matrix multiply(const Operand& a, const Operand& b, std::int64_t k, const Accumulation& acc, Matrix out) {
  for (std::int64_t i = 0; i < out.rows; ++i)
    for (std::int64_t j = 0; j < out.cols; ++j)
      out.f32()[i * out.cols + j] = value_of(last(chain(a, i, b, j, 0, k, acc)), acc);
  return out;
}

Operand operand(const BlockScaledTensor& t, const Accumulation& acc) {
  const Format element = t.spec.dialect->element;
  const bool nibbles = info(element).bits == 4;
  Operand x(t.rows, padded_k(acc, t.cols), fields(element));
  for (std::int64_t i = 0; i < t.rows; ++i)
    for (std::int64_t col = 0; col < t.cols; ++col) {
      const std::uint8_t byte =
          t.codes[static_cast<std::size_t>(i * t.row_bytes() + (nibbles ? col / 2 : col))];
      x.elements[x.at(i, col)] = factor(nibbles ? byte >> (col % 2 * 4) & 15 : byte, element);
    }
  set_scales(x, t.scales, t.blocks_per_row(), t.spec.block.cols, t.spec.dialect->scale);
  return x;
}

float element(MatrixView x, std::int64_t i) {
  if (x.dtype == Dtype::fp32) return static_cast<const float*>(x.data)[i];
  return decode(static_cast<const std::uint16_t*>(x.data)[i],
                x.dtype == Dtype::bf16 ? Format::bf16 : Format::fp16);
}

Operand operand(MatrixView x, std::optional<Format> format, const Accumulation& acc) {
  const Fields wanted = format ? fields(*format) : fp32_fields;
  Operand out(x.rows, padded_k(acc, x.cols), wanted);
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) {
    const float value = element(x, i);
    std::uint32_t code = std::bit_cast<std::uint32_t>(value);
    if (format) code = encode(value, {.format = *format, .overflow = Overflow::special});
    if (format && !is_nan(value) && !(decode(code, *format) == value))
      throw std::invalid_argument(std::string(acc.name) + ": every value must be a " +
                                  std::string(info(*format).name) + " number");
    out.elements[out.at(i / x.cols, i % x.cols)] = factor(code, wanted);
  }
  return out;
}

Fields element_fields(Format format, const Accumulation& acc) {
  return acc.sum == Summation::fp64_fma ? fp64_fields : fields(format);
}

Operand operand(std::span<const std::uint64_t> codes, std::span<const std::uint8_t> scales, std::int64_t rows,
                const Fields& element, const MmaOperands& x, const Accumulation& acc) {
  Operand out(rows, padded_k(acc, x.k), element);
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t k = 0; k < x.k; ++k)
      out.elements[out.at(i, k)] = factor(codes[static_cast<std::size_t>(i * x.k + k)], element);
  if (x.scale) set_scales(out, scales, (x.k + x.block - 1) / x.block, x.block, *x.scale);
  return out;
}

}  // namespace

Matrix multiply(const BlockScaledTensor& a, const BlockScaledTensor& b, const Accumulation& acc, Matrix) {
  validate(acc, a, b);
  return multiply(operand(a, acc), operand(b, acc), a.cols, acc, Matrix(a.rows, b.rows));
}

Matrix multiply_dense(MatrixView a, MatrixView b, const Accumulation& acc) {
  const std::optional<Format> format = dense_format(acc, a, b);
  return multiply(operand(a, format, acc), operand(b, format, acc), a.cols, acc, Matrix(a.rows, b.rows));
}

std::vector<std::uint64_t> mma(const MmaOperands& x, const Accumulation& acc, bool every_step) {
  validate(acc, x);
  const Operand a = operand(x.a, x.a_scales, x.tiles * x.rows, element_fields(x.a_format, acc), x, acc);
  const Operand b = operand(x.b, x.b_scales, x.tiles * x.cols, element_fields(x.b_format, acc), x, acc);
  const std::int64_t tile = x.rows * x.cols, steps = every_step ? a.k / instruction_k(acc, x.k) : 1;
  std::vector<std::uint64_t> out(static_cast<std::size_t>(x.tiles * steps * tile));
  for (std::int64_t n = 0; n < x.tiles * tile; ++n) {
    const std::int64_t i = n / x.cols, j = n / tile * x.cols + n % x.cols;
    std::vector<std::uint64_t> sums = chain(a, i, b, j, x.c[static_cast<std::size_t>(n)], x.k, acc);
    if (!every_step) sums = {sums.empty() ? x.c[static_cast<std::size_t>(n)] : sums.back()};
    for (std::int64_t s = 0; s < steps; ++s)
      out[static_cast<std::size_t>((n / tile * steps + s) * tile + n % tile)] =
          sums[static_cast<std::size_t>(s)];
  }
  return out;
}

}  // namespace nvfp4::reference
