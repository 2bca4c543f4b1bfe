#pragma once
#include <nvfp4/dialect.hpp>
#include <nvfp4/stochastic.hpp>

/// The vocabulary in which dialects are written. A dialect is a template over F, one or many FP32
/// numbers; each layer supplies its own F and these primitives, found by argument-dependent lookup:
///
///   F(float), F::Code(int)        the same constant in every lane; Code holds the bits of codes
///   a + b, a - b, a * b, a / b    one IEEE binary32 operation: RNE, subnormals kept, never contracted
///   multiply_add(a, b, c)         a * b + c, rounded once
///   abs(a)                        the sign bit cleared
///   a == b, a < b, m | n          a mask; comparisons with NaN are false
///   select(mask, x, y)            x where the mask is true; of F or of Code
///   is_nan(a), has_sign(a)        a mask; has_sign tells -0 and -NaN
///   any_nan(a)                    whether any lane is NaN
///   min_num(a, bound)             the smaller; `bound` where a is NaN (CUDA's fminf). bound is never NaN
///   min_nan(a, bound)             the smaller; NaN where a is NaN (PyTorch's minimum). bound is never NaN
///   max_nan(a, bound)             the larger; NaN where a is NaN
///   ftz(a)                        a signed zero for a subnormal number
///   to_bf16(a), to_fp16(a)        the nearest value of that format, ties to even
///   rcp_approx_ftz(a)             the GPU instruction rcp.approx.ftz.f32, as measured. Never of another's result:
///                                 ptxas makes rcp.approx(rcp.approx(a)) a itself
///   e4m3_satfinite(t)             {code, value} of t >= 0 by RNE: above 448 and Inf give 448, NaN gives 0x7F
///   e4m3_up(t)                    the same, rounded up
///   e4m3_ggml(t)                  ggml's own E4M3 of t >= 0: halves go up, and from 248 on all is 448
///   e8m0(a, shift, rounding)      {code, value} of 2^shift * a >= 0: toward_zero, up, or ties_away, which here
///                                 goes up from 1.75; from 2^-127 to 2^127, NaN gives 0xFF
///   e2m1_magnitude(y)             Code 0..7 of |y| by RNE, ties to even code; beyond 5, Inf and NaN give 7
///   e2m1_satfinite(y)             the same with the sign bit kept, -0 too, but +6 for NaN: cvt.rn.satfinite.e2m1x2
///   e2m1_carry(y, r)              SrRule::carry of 8 bits, r a Code of random bytes: signs and NaN as e2m1_satfinite
///   e2m1_te_software(y, r)        SrRule::te_software, the same
///   e2m1_nearest_first(x, d)      the first of the 16 codes k whose |k * d - x| is least, as FP32 sees it
///   e2m1_from_bf16(y)             fouroversix's code, cut from BF16 bits: what rounds to 8 or more is no longer 6
///   negative(y)                   Code 8 where y < 0, else 0
///   F::e2m1_value(code)           the value of an E2M1 code; exact
///
/// A primitive is proven equal between layers over all its inputs; that is what makes a dialect, once
/// written, the same on every layer.
namespace nvfp4 {

/// A block scale as a dialect's block step hands it on.
template <class F>
struct BlockScale {
  typename F::Code code;  ///< the stored byte
  F encode;               ///< what element() multiplies by, or divides by
};

inline constexpr float flt_max = 0x1.fffffep+127f;
inline constexpr float flt_min = 0x1p-126f;              ///< the smallest normal number
inline constexpr float one_sixth = 0x1.555556p-3f;       ///< FP32(1/6), rounded up: 0x3E2AAAAB
inline constexpr float one_over_2688 = 0x1.861862p-12f;  ///< FP32(1/2688): 0x39C30C31

/// How PyTorch divides a Python number by a tensor: two roundings.
template <class F>
constexpr F rdiv(float numerator, F x) {
  return F(1) / x * F(numerator);
}

/// The nearest value of a matrix's element type.
template <class F>
constexpr F to_dtype(F x, Dtype dtype) {
  return dtype == Dtype::fp32 ? x : dtype == Dtype::bf16 ? to_bf16(x) : to_fp16(x);
}

/// The code of an element that was scaled, with the block's random bytes.
template <class F>
constexpr typename F::Code e2m1_stochastic(F y, typename F::Code random, SrRule rule) {
  return rule == SrRule::carry ? e2m1_carry(y, random) : e2m1_te_software(y, random);
}

/// RNE with the sign of v < 0: -0 gives code 0. NaN meets no rounding rule and gives 0.
template <class F>
constexpr typename F::Code e2m1_by_comparison(F v) {
  return select(is_nan(v), typename F::Code(0), e2m1_magnitude(v) | negative(v));
}

}  // namespace nvfp4
