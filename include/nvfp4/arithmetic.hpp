#pragma once

/// The vocabulary in which dialects are written. A dialect is a template over F, one or many FP32
/// numbers; each layer supplies its own F and these primitives, found by argument-dependent lookup:
///
///   F(float), F::Code(int)        the same constant in every lane; Code holds the bits of codes
///   a * b, a / b                  one IEEE binary32 operation: RNE, subnormals kept, never contracted
///   a == b, a < b, m | n          a mask; comparisons with NaN are false
///   select(mask, x, y)            x where the mask is true; of F or of Code
///   is_nan(a)                     a mask
///   min_num(a, bound)             the smaller; `bound` where a is NaN (CUDA's fminf). bound is never NaN
///   min_nan(a, bound)             the smaller; NaN where a is NaN (PyTorch's minimum). bound is never NaN
///   e4m3_satfinite(t)             {code, value} of t >= 0 by RNE: above 448 and Inf give 448, NaN gives 0x7F
///   e2m1_magnitude(y)             Code 0..7 of |y| by RNE, ties to even code; beyond 5, Inf and NaN give 7
///   e2m1_satfinite(y)             the same with the sign bit kept, -0 too, but +6 for NaN: cvt.rn.satfinite.e2m1x2
///   negative(y)                   Code 8 where y < 0, else 0
///
/// A primitive is proven equal between layers over all its inputs; that is what makes a dialect, once
/// written, the same on every layer.
namespace nvfp4 {

/// A block scale as a dialect's block step hands it on.
template <class F>
struct BlockScale {
  typename F::Code code;  ///< the stored byte
  F encode;               ///< multiplies each element on the way in
};

inline constexpr float flt_max = 0x1.fffffep+127f;
inline constexpr float one_sixth = 0x1.555556p-3f;       ///< FP32(1/6), rounded up: 0x3E2AAAAB
inline constexpr float one_over_2688 = 0x1.861862p-12f;  ///< FP32(1/2688): 0x39C30C31

}  // namespace nvfp4
