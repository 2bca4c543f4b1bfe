#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

/// Binary64 that never falls below the truth. An operation rounds to nearest, so one step up covers its rounding.
namespace nvfp4::cpu {

constexpr double infinite = std::numeric_limits<double>::infinity();

/// Tensor scales below this may have met the clamps and underflows of a dialect's FP32 operations: nothing is known.
constexpr double least_unit = 0x1p-100;

/// The number above x > 0; 0 stays, as sums and products of zeros are exact.
inline double up(double x) {
  return x > 0 && x < infinite ? std::bit_cast<double>(std::bit_cast<std::uint64_t>(x) + 1) : x;
}

/// The largest power of two up to x > 0; 0 of 0.
inline double power_below(double x) { return x > 0 && std::isfinite(x) ? std::ldexp(1, std::ilogb(x)) : x; }

/// What a multiple of `quantum` may lose where it becomes one of `unit`, both powers of two (quantum 0: any number).
inline double lost(double unit, double quantum, bool to_nearest) {
  if (unit <= quantum) return 0;
  return to_nearest ? unit / 2 : unit - quantum;
}

/// A format's numbers: multiples of 2^(e - bits), e from `smallest` on, up to `largest`.
struct Grid {
  int bits, smallest;
  double largest;
  /// Between the neighbours of a number up to x.
  double ulp(double x) const {
    if (x > largest) return infinite;
    return std::ldexp(std::max(power_below(x), std::ldexp(1, smallest)), -bits);
  }
};
constexpr Grid fp32{23, -126, 0x1.fffffep127};

}  // namespace nvfp4::cpu
