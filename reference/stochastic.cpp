#include "stochastic.hpp"

namespace nvfp4::reference {
namespace {

/// Where BF16 has no more numbers, Inf stands for 2^128.
Dyadic magnitude_of(std::uint32_t code, Format format) {
  const float value = decode(code, format);
  return is_inf(value) ? Dyadic{1, 128} : exact(value);
}

/// |x| between two codes.
struct Between {
  std::uint32_t low = 0;       ///< the last whose value is not above |x|
  std::uint64_t fraction = 0;  ///< floor(2^bits f) of the way to the next
};

Between between(Number magnitude, Format format, int bits) {
  const std::uint32_t low = encode(magnitude.value, {.format = format, .rounding = Rounding::toward_zero});
  const Dyadic from = magnitude_of(low, format), x = exact(magnitude.value);
  const bool saturated =
      format != Format::bf16 && !(magnitude < Number(static_cast<float>(info(format).max)));
  if (saturated) return {low, 0};
  const Dyadic above = x + -from, gap = magnitude_of(low + 1, format) + -from;
  const int unit = std::min(above.exponent, gap.exponent);
  const cpp_int steps = (in_units_of(unit, above) << bits) / in_units_of(unit, gap);
  return {low, static_cast<std::uint64_t>(steps)};
}

std::uint32_t sign_of(Number x, Format format) { return has_sign(x) ? 1u << (info(format).bits - 1) : 0; }

/// NaN and Inf, which no random number moves.
std::uint32_t special(float x, Format format) {
  const Overflow overflow = format == Format::bf16 ? Overflow::special : Overflow::saturate;
  return encode(x, {.format = format, .overflow = overflow});
}

Code toward_zero(Number magnitude) {
  return Code(encode(magnitude.value, {.format = Format::e2m1, .rounding = Rounding::toward_zero}));
}

/// The step of E2M1's grid from a on.
Number step_from(Number a) { return Number(!(a < Number(4)) ? 2 : !(a < Number(2)) ? 1 : 0.5f); }

Number scaled_down(std::uint32_t r, int bits) {
  return Number(static_cast<float>(r)) / Number(static_cast<float>(1u << bits));
}

Code tetrajet(Number x, std::uint32_t r) {
  const Number a = abs(x), noise = scaled_down(r, 23) - Number(0.5f);
  const float low = !(Number(2) < a) && !is_nan(a) ? 0 : !(Number(4) < a) && !is_nan(a) ? 2 : 4;
  const Number step(low == 0 ? 0.5f : low == 2 ? 1 : 2), floor(low), ceiling(low + 2);
  const Number moved = a + noise * step;
  const Number held = floor < moved ? min_num(moved, ceiling) : floor;
  return e2m1_magnitude(held) | Code(sign_of(x, Format::e2m1));
}

}  // namespace

Code e2m1_carry(Number y, Code random) {
  if (is_nan(y) || is_inf(y.value)) return Code(special(y.value, Format::e2m1));
  const Between b = between(abs(y), Format::e2m1, 8);
  return Code(b.low + (b.fraction + random.bits >= 256)) | Code(sign_of(y, Format::e2m1));
}

Code e2m1_te_software(Number y, Code random) {
  if (is_nan(y)) return Code(7);
  const Number a = abs(y);
  const Number sum = a + scaled_down(random.bits, 8) * step_from(a);
  return toward_zero(sum) | Code(sign_of(y, Format::e2m1));
}

void encode_stochastic(std::span<const float> values, std::span<const std::uint32_t> random,
                       const StochasticEncoding& e, std::span<std::uint32_t> codes) {
  validate(e);
  Between b;
  std::uint32_t pattern = 0x7FC00000;  // of the value that b belongs to: many draws of one value are cheap
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Number x(values[i]);
    const bool number = !is_nan(x) && !is_inf(x.value);
    if (e.rule == SrRule::te_software) {
      codes[i] = e2m1_te_software(x, Code(random[i])).bits;
    } else if (e.rule == SrRule::tetrajet) {
      codes[i] = tetrajet(x, random[i]).bits;
    } else if (!number) {
      codes[i] = special(x.value, e.format);
    } else {
      if (pattern != std::bit_cast<std::uint32_t>(x.value)) b = between(abs(x), e.format, e.bits);
      pattern = std::bit_cast<std::uint32_t>(x.value);
      const bool up = b.fraction + random[i] >= std::uint64_t{1} << e.bits;
      codes[i] = (b.low + up) | sign_of(x, e.format);
    }
  }
}

}  // namespace nvfp4::reference
