#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "accumulate.hpp"
#include "formats.cuh"
#include "matrix.cuh"
#include "wide_sum.cuh"

/// Tensor cores as integers (tensorcore.md 7), one output at a time.
namespace nvfp4::gpu {

/// An accumulator's format, and how a sum becomes a number of it.
struct ResultFormat {
  CodeFields f;
  int kept_bits;  ///< fraction bits that a result may have
  bool to_nearest;
  std::uint64_t nan;

  NVFP4_HOST_DEVICE std::uint64_t infinity() const {
    return ((std::uint64_t{1} << f.exponent_bits) - 1) << f.mantissa_bits;
  }
  NVFP4_HOST_DEVICE std::uint64_t sign() const { return std::uint64_t{1} << (f.bits - 1); }
  NVFP4_HOST_DEVICE ResultFormat nearest() const { return {f, f.mantissa_bits, true, nan}; }
};

NVFP4_HOST_DEVICE constexpr ResultFormat result_format(Conversion out) {
  if (out == Conversion::rne_fp16) return {{16, 5, 10, 15, 0, true, true, true, false}, 10, true, 0x7FFF};
  return {{32, 8, 23, 127, 0, true, true, true, false},
          out == Conversion::rz_e8m13 ? 13 : 23,
          out == Conversion::rne_fp32,
          0x7FFFFFFF};
}

/// significand * 2^(exponent - f.mantissa_bits), as the code's fields say: nothing is normalised, and the exponent of
/// subnormals and zero is the smallest.
struct Factor {
  std::uint64_t significand;
  int exponent;
  bool negative, is_infinite, is_nan;

  NVFP4_HOST_DEVICE bool is_zero() const { return significand == 0; }
};
inline constexpr Factor one{1, 0, false, false, false};

NVFP4_HOST_DEVICE inline Factor factor(std::uint64_t code, const CodeFields& f) {
  const std::uint64_t magnitude = code >> f.dropped_bits & ((std::uint64_t{1} << f.value_bits()) - 1);
  const std::uint64_t hidden = std::uint64_t{1} << f.mantissa_bits, fraction = magnitude & (hidden - 1);
  const int field = static_cast<int>(magnitude >> f.mantissa_bits);
  const bool last_field = field == (1 << f.exponent_bits) - 1;
  return {field || f.is_power ? hidden | fraction : fraction,
          (f.is_power ? field : std::max(field, 1)) - f.bias, f.has_sign && (code >> (f.bits - 1) & 1),
          f.has_infinity && last_field && fraction == 0,
          last_field && (f.has_infinity ? fraction != 0 : f.has_nan && fraction == hidden - 1)};
}

/// What NaN and infinities among the terms of a sum make of it.
struct Specials {
  bool nan = false, plus = false, minus = false;

  NVFP4_HOST_DEVICE bool any() const { return nan || plus || minus; }
  NVFP4_HOST_DEVICE void add(bool is_nan, bool is_infinite, bool negative) {
    nan = nan || is_nan;
    plus = plus || (is_infinite && !negative);
    minus = minus || (is_infinite && negative);
  }
  NVFP4_HOST_DEVICE void add(const Factor& x) { add(x.is_nan, x.is_infinite, x.negative); }
  NVFP4_HOST_DEVICE std::uint64_t code(const ResultFormat& t) const {
    return nan || (plus && minus) ? t.nan : plus ? t.infinity() : t.infinity() | t.sign();
  }
};

/// a * b * scale of a * scale of b.
struct Product {
  Factor a, b, a_scale, b_scale;

  NVFP4_HOST_DEVICE bool is_zero() const {
    return a.is_zero() || b.is_zero() || a_scale.is_zero() || b_scale.is_zero();
  }
  NVFP4_HOST_DEVICE bool is_infinite() const { return a.is_infinite || b.is_infinite; }
  NVFP4_HOST_DEVICE bool is_nan() const {
    return a.is_nan || b.is_nan || a_scale.is_nan || b_scale.is_nan || (is_infinite() && is_zero());
  }
  NVFP4_HOST_DEVICE bool negative() const { return a.negative != b.negative; }
  NVFP4_HOST_DEVICE int scale_exponent() const { return a_scale.exponent + b_scale.exponent; }
  NVFP4_HOST_DEVICE int exponent() const { return a.exponent + b.exponent + scale_exponent(); }
  NVFP4_HOST_DEVICE std::uint64_t significand() const {
    return a.significand * b.significand * (a_scale.significand * b_scale.significand);
  }
};

/// magnitude / 2^right, cut or to nearest even; magnitude < 2^62.
NVFP4_HOST_DEVICE inline std::uint64_t shifted(std::uint64_t magnitude, int right, bool to_nearest) {
  if (right <= 0) return magnitude << -right;
  right = std::min(right, 63);
  const std::uint64_t whole = magnitude >> right, rest = magnitude - (whole << right),
                      half = std::uint64_t{1} << (right - 1);
  return whole + (to_nearest && (rest > half || (rest == half && whole & 1)));
}

/// The code of magnitude * 2^unit, magnitude < 2^62, without its sign.
NVFP4_HOST_DEVICE inline std::uint64_t magnitude_code(std::uint64_t magnitude, int unit,
                                                      const ResultFormat& t) {
  if (magnitude == 0) return 0;
  // Not std::bit_width: nvcc 13.0 compiles libstdc++'s 64-bit bit functions to constants.
  const int highest = 63 - __builtin_clzll(magnitude), smallest = 1 - t.f.bias;
  const int top = std::max(highest + unit, smallest);
  const std::uint64_t kept = shifted(magnitude, top - t.kept_bits - unit, t.to_nearest);
  // The hidden bit adds one to the exponent field, and so does a carry out of rounding.
  const std::uint64_t code = (kept << (t.f.mantissa_bits - t.kept_bits)) +
                             (static_cast<std::uint64_t>(top - smallest) << t.f.mantissa_bits);
  return std::min(code, t.infinity());
}

/// A result of zero is +0, whatever was rounded to it.
NVFP4_HOST_DEVICE inline std::uint64_t code_of(bool negative, std::uint64_t magnitude, int unit,
                                               const ResultFormat& t) {
  const std::uint64_t code = magnitude_code(magnitude, unit, t);
  return negative && code != 0 ? code | t.sign() : code;
}

NVFP4_HOST_DEVICE inline std::uint64_t code_of(WideSum& sum, const ResultFormat& t) {
  const WideSum::Total total = sum.total();
  return code_of(total.negative, total.magnitude, total.unit, t);
}

/// What is aligned: a group's exact dot product, a single product, or C.
struct Term {
  std::int64_t significand;  ///< in units of 2^unit
  int unit, exponent;        ///< that it is aligned by
  bool is_zero;              ///< each of its products is
  bool is_minus_zero;
};

NVFP4_HOST_DEVICE inline int alignment(const Term& x, const Accumulation& acc) {
  const bool zero = acc.zero_rule == ZeroRule::zero_products ? x.is_zero
                    : acc.zero_rule == ZeroRule::zero_sum    ? x.significand == 0
                                                             : false;
  return zero ? acc.zero_exponent : x.exponent;
}

/// x in whole units of 2^unit.
NVFP4_HOST_DEVICE inline std::int64_t cut(const Term& x, int unit, AlignRounding rounding) {
  const bool negative = x.significand < 0;
  const auto magnitude = static_cast<std::uint64_t>(negative ? -x.significand : x.significand);
  if (magnitude == 0) return 0;
  const int right = unit - x.unit;
  std::uint64_t whole = shifted(magnitude, right, rounding == AlignRounding::nearest_even);
  if (rounding == AlignRounding::floor && negative && right > 0 &&
      shifted(whole, -std::min(right, 63), false) != magnitude)
    ++whole;
  return negative ? -static_cast<std::int64_t>(whole) : static_cast<std::int64_t>(whole);
}

NVFP4_HOST_DEVICE inline Term term(const Factor& c, const CodeFields& f) {
  const auto significand = static_cast<std::int64_t>(c.significand);
  return {c.negative ? -significand : significand, c.exponent - f.mantissa_bits, c.exponent, c.is_zero(),
          c.is_zero() && c.negative};
}

/// One step: the terms, their largest exponent, the cut, the exact sum, one conversion. `terms(n, specials)` is the nth
/// of them, and tells of NaN and infinities.
template <class Terms>
NVFP4_HOST_DEVICE std::uint64_t aligned_step(const Terms& terms, int count, std::uint64_t c_code,
                                             const Accumulation& acc) {
  const ResultFormat t = result_format(acc.out);
  const Factor c = factor(c_code, t.f);
  const Term start = term(c, t.f);
  Specials specials;
  specials.add(c);
  int largest = alignment(start, acc);
  bool minus_zero = acc.minus_zero && start.is_minus_zero;
  for (int n = 0; n < count; ++n) {
    const Term x = terms(n, specials);
    largest = std::max(largest, alignment(x, acc));
    minus_zero = minus_zero && x.is_minus_zero;
  }
  if (specials.any()) return specials.code(t);
  if (minus_zero) return t.sign();
  const int unit = largest - acc.fraction_bits;
  std::int64_t sum = cut(start, unit, acc.align_rounding);
  for (int n = 0; n < count; ++n) sum += cut(terms(n, specials), unit, acc.align_rounding);
  return code_of(sum < 0, static_cast<std::uint64_t>(sum < 0 ? -sum : sum), unit, t);
}

/// c + d in one rounding, or truncation.
NVFP4_HOST_DEVICE inline std::uint64_t plus(std::uint64_t c_code, std::uint64_t d_code,
                                            const ResultFormat& t) {
  const Factor c = factor(c_code, t.f), d = factor(d_code, t.f);
  Specials specials;
  specials.add(c), specials.add(d);
  if (specials.any()) return specials.code(t);
  if (c.is_zero() && d.is_zero()) return c.negative && d.negative ? t.sign() : 0;
  WideSum sum;
  for (const Factor& x : {c, d}) sum.add(x.negative, x.significand, x.exponent - t.f.mantissa_bits);
  return code_of(sum, t);
}

/// The accumulator of one output.
struct Chain {
  MatrixProduct x;
  Accumulation acc;
  CodeFields a, b, scale;

  NVFP4_HOST_DEVICE std::int64_t instruction_k() const {
    return acc.sum == Summation::exact ? std::max<std::int64_t>(x.k, 1) : acc.k;
  }
  NVFP4_HOST_DEVICE std::int64_t length() const { return (x.k + instruction_k() - 1) / instruction_k(); }

  /// Beyond k: zeros.
  NVFP4_HOST_DEVICE static std::uint64_t code(const CodeMatrix& m, std::int64_t row, std::int64_t k) {
    const auto* bytes = static_cast<const std::uint8_t*>(m.codes) + row * m.row_bytes;
    switch (m.code_bits) {
      case 4: return bytes[k / 2] >> (k % 2 * 4) & 15;
      case 8: return bytes[k];
      case 32: return reinterpret_cast<const std::uint32_t*>(bytes)[k];
      default: return reinterpret_cast<const std::uint64_t*>(bytes)[k];
    }
  }
  NVFP4_HOST_DEVICE Factor element(const CodeMatrix& m, const CodeFields& f, std::int64_t row,
                                   std::int64_t k) const {
    return factor(k < x.k ? code(m, row, k) : 0, f);
  }
  NVFP4_HOST_DEVICE Factor scale_of(const CodeMatrix& m, std::int64_t row, std::int64_t k) const {
    if (!x.scale) return one;
    const std::int64_t blocks = (x.k + x.block - 1) / x.block, block = k / x.block;
    return factor(block < blocks ? m.scales[row * blocks + block] : 0, scale);
  }
  NVFP4_HOST_DEVICE Product product(std::int64_t i, std::int64_t j, std::int64_t k) const {
    return {element(x.a, a, i, k), element(x.b, b, j, k), scale_of(x.a, i, k), scale_of(x.b, j, k)};
  }
  /// The exponent of a product's last bit.
  NVFP4_HOST_DEVICE int unit(const Product& p) const {
    return p.exponent() - a.mantissa_bits - b.mantissa_bits - (x.scale ? 2 * scale.mantissa_bits : 0);
  }
};

/// Throws std::invalid_argument where the accumulation does not take such operands.
inline Chain chain_of(const MatrixProduct& x, const Accumulation& acc) {
  const bool fp64 = acc.sum == Summation::fp64_fma;
  if (fp64 && (x.scale || x.a.code_bits != 64 || x.b.code_bits != 64))
    throw std::invalid_argument("FP64 products take 64-bit codes and no block scales");
  if (!fp64 && x.a.format && x.b.format) validate(acc, *x.a.format, *x.b.format, x.scale, x.block);
  if (!fp64 && (!x.a.format || !x.b.format) && !takes_all(acc))
    throw std::invalid_argument(std::string(acc.name) + ": takes no FP32 elements");
  const auto fields = [&](const CodeMatrix& m) {
    return fp64 ? fp64_fields : m.format ? code_fields(*m.format) : fp32_fields;
  };
  return {x, acc, fields(x.a), fields(x.b), x.scale ? code_fields(*x.scale) : CodeFields{}};
}

/// Terms of a step that begins at product `first` of the instruction at k.
struct StepTerms {
  const Chain& chain;
  std::int64_t i, j, k, first;

  /// Where the nth product of an instruction stands in K.
  NVFP4_HOST_DEVICE std::int64_t place(std::int64_t n) const {
    if (chain.acc.k_order == KOrder::ascending) return k + n;
    const std::int64_t half = chain.acc.k / 2, late = n < half ? 0 : 1, m = n - late * half;
    return k + m / 2 * 4 + 2 * late + m % 2;
  }

  NVFP4_HOST_DEVICE Term single(int n, Specials& specials) const {
    const Product p = chain.product(i, j, place(first + n));
    specials.add(p.is_nan(), p.is_infinite(), p.negative());
    const auto significand = static_cast<std::int64_t>(p.significand());
    return {p.negative() ? -significand : significand, chain.unit(p), p.exponent(), p.is_zero(),
            p.is_zero() && p.negative()};
  }

  /// Of E2M1: a product is a significand in units of 2^(its exponent - 2), and exponents are 0 to 4.
  NVFP4_HOST_DEVICE Term group(int n, Specials& specials) const {
    const int size = chain.acc.group;
    std::int64_t dot = 0;
    bool zeros = true, minus = true;
    const std::int64_t at = k + first + std::int64_t{n} * size;
    const Factor a_scale = chain.scale_of(chain.x.a, i, at), b_scale = chain.scale_of(chain.x.b, j, at);
    for (std::int64_t l = at; l < at + size; ++l) {
      const Factor a = chain.element(chain.x.a, chain.a, i, l), b = chain.element(chain.x.b, chain.b, j, l);
      const auto m = static_cast<std::int64_t>(a.significand * b.significand << (a.exponent + b.exponent));
      dot += a.negative != b.negative ? -m : m;
      zeros = zeros && m == 0;
      minus = minus && a.negative != b.negative;
    }
    zeros = zeros || a_scale.is_zero() || b_scale.is_zero();
    specials.add(a_scale.is_nan || b_scale.is_nan, false, false);
    const int exponent = a_scale.exponent + b_scale.exponent;
    return {dot * static_cast<std::int64_t>(a_scale.significand * b_scale.significand),
            exponent - 2 - 2 * chain.scale.mantissa_bits, exponent, zeros, zeros && minus};
  }

  NVFP4_HOST_DEVICE Term operator()(int n, Specials& specials) const {
    return chain.acc.align == Align::group ? group(n, specials) : single(n, specials);
  }
};

NVFP4_HOST_DEVICE inline std::uint64_t aligned(const Chain& chain, std::int64_t i, std::int64_t j,
                                               std::int64_t k, std::uint64_t c) {
  const Accumulation& acc = chain.acc;
  const int terms = acc.align == Align::group ? acc.step / acc.group : acc.step;
  std::uint64_t sum = acc.c_in_sum ? c : 0;
  for (std::int64_t first = 0; first < acc.k; first += acc.step)
    sum = aligned_step(StepTerms{chain, i, j, k, first}, terms, sum, acc);
  return acc.c_in_sum ? sum : plus(c, sum, result_format(acc.out).nearest());
}

/// The exact sum of n products; false where there are NaN or infinities, which then decide.
NVFP4_HOST_DEVICE inline bool add_products(const Chain& chain, std::int64_t i, std::int64_t j, std::int64_t k,
                                           std::int64_t n, WideSum& sum, Specials& specials) {
  for (std::int64_t l = k; l < k + n; ++l) {
    const Product p = chain.product(i, j, l);
    specials.add(p.is_nan(), p.is_infinite(), p.negative());
    if (!p.is_zero()) sum.add(p.negative(), p.significand(), chain.unit(p));
  }
  return !specials.any();
}

NVFP4_HOST_DEVICE inline std::uint64_t exact_sum(const Chain& chain, std::int64_t i, std::int64_t j,
                                                 std::uint64_t c_code) {
  const ResultFormat t = result_format(Conversion::rne_fp32);
  const Factor c = factor(c_code, t.f);
  Specials specials;
  specials.add(c);
  WideSum sum;
  if (!add_products(chain, i, j, 0, chain.x.k, sum, specials)) return specials.code(t);
  sum.add(c.negative, c.significand, c.exponent - t.f.mantissa_bits);
  return code_of(sum, t);
}

/// p = RNE of the exact sum, c = RZ of c + p. p is never -0, so neither is that.
NVFP4_HOST_DEVICE inline std::uint64_t chunk(const Chain& chain, std::int64_t i, std::int64_t j,
                                             std::int64_t k, std::uint64_t c) {
  const ResultFormat t = result_format(Conversion::rne_fp32);
  Specials specials;
  specials.add(factor(c, t.f));
  WideSum sum;
  if (!add_products(chain, i, j, k, chain.acc.k, sum, specials)) return specials.code(t);
  return plus(c, code_of(sum, t), result_format(Conversion::rz_fp32));
}

/// Exact: 48 bits at most, and exponents that FP64 has as normal ones.
NVFP4_HOST_DEVICE inline double value(const Product& p, int unit) {
  if (p.is_nan()) return std::bit_cast<double>(0x7FF8000000000000);
  const double power =
      std::bit_cast<double>(static_cast<std::uint64_t>(p.is_infinite() ? 2047 : 1023 + unit) << 52);
  const double magnitude = static_cast<double>(p.significand()) * power;
  return p.negative() ? -magnitude : magnitude;
}

/// c + (the product, rounded to FP32), rounded.
NVFP4_HOST_DEVICE inline std::uint64_t add_in_order(const Product& p, int unit, std::uint64_t c) {
  const float sum = std::bit_cast<float>(static_cast<std::uint32_t>(c)) + static_cast<float>(value(p, unit));
  return sum != sum ? 0x7FFFFFFF : std::bit_cast<std::uint32_t>(sum);
}

NVFP4_HOST_DEVICE inline std::uint64_t fp64_fma(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  const double sum = fma(std::bit_cast<double>(a), std::bit_cast<double>(b), std::bit_cast<double>(c));
  return sum != sum ? 0x7FF8000000000000 : std::bit_cast<std::uint64_t>(sum);
}

/// The accumulator after the instruction that begins at k.
NVFP4_HOST_DEVICE inline std::uint64_t instruction(const Chain& chain, std::int64_t i, std::int64_t j,
                                                   std::int64_t k, std::uint64_t c) {
  switch (chain.acc.sum) {
    case Summation::aligned: return aligned(chain, i, j, k, c);
    case Summation::chunks: return chunk(chain, i, j, k, c);
    case Summation::exact: return exact_sum(chain, i, j, c);
    case Summation::fp32_in_order: {
      const Product p = chain.product(i, j, k);
      return add_in_order(p, chain.unit(p), c);
    }
    case Summation::fp64_fma: return fp64_fma(Chain::code(chain.x.a, i, k), Chain::code(chain.x.b, j, k), c);
  }
  return 0;
}

/// All of one output, of row i of a and row j of b. `after(s, sum)` hears of each instruction.
template <class After>
NVFP4_HOST_DEVICE std::uint64_t run(const Chain& chain, std::int64_t i, std::int64_t j, std::uint64_t c,
                                    After after) {
  for (std::int64_t s = 0; s < chain.length(); ++s) {
    c = instruction(chain, i, j, s * chain.instruction_k(), c);
    after(s, c);
  }
  return c;
}

/// One output of mma().
struct MmaOutput {
  Chain chain;
  bool every_step;
  std::uint64_t* out;

  NVFP4_HOST_DEVICE void operator()(std::int64_t n) const {
    const MatrixProduct& x = chain.x;
    const std::int64_t tile = x.rows * x.cols, kept = every_step ? chain.length() : 1;
    std::uint64_t* place = out + n / tile * kept * tile + n % tile;
    const std::uint64_t d = run(chain, n / x.cols, n / tile * x.cols + n % x.cols, x.c ? x.c[n] : 0,
                                [&](std::int64_t s, std::uint64_t sum) {
                                  if (every_step) place[s * tile] = sum;
                                });
    if (!every_step) *place = d;
  }
};

/// FP16 is widened.
NVFP4_HOST_DEVICE inline float value_of(std::uint64_t code, const Accumulation& acc) {
  const auto bits = static_cast<std::uint32_t>(code);
  if (acc.out != Conversion::rne_fp16) return std::bit_cast<float>(bits);
  return bits == 0x7FFF ? std::bit_cast<float>(0x7FFFFFFF) : decoded(bits, result_format(acc.out).f);
}

/// One of multiply().
struct ProductOutput {
  Chain chain;
  float* out;

  NVFP4_HOST_DEVICE void operator()(std::int64_t n) const {
    const MatrixProduct& x = chain.x;
    const std::int64_t j = n / (x.rows * x.cols) * x.cols + n % x.cols;
    out[n] = value_of(run(chain, n / x.cols, j, 0, [](std::int64_t, std::uint64_t) {}), chain.acc);
  }
};

/// One of dense_codes().
struct DenseCode {
  Elements x;
  bool is_fp32;
  Encoder encoder;
  std::uint32_t *codes, *strangers;

  NVFP4_HOST_DEVICE void operator()(std::int64_t row, std::int64_t col) const {
    const float value = x.at(row, col);
    const std::int64_t n = row * x.cols + col;
    codes[n] = is_fp32 ? bits_of(value) : encoded(value, encoder);
    if (!is_fp32 && value == value && decoded(codes[n], encoder.f) != value) *strangers = 1;
  }
};

inline DenseCode dense_code(MatrixView x, std::optional<Format> format, std::uint32_t* codes,
                            std::uint32_t* strangers) {
  const Encoder e = encoder({.format = format.value_or(Format::tf32), .overflow = Overflow::special});
  return {elements(x, false), !format, e, codes, strangers};
}

}  // namespace nvfp4::gpu
