#pragma once
#include "host_device.hpp"

namespace nvfp4::gpu {

/// Two FP32 numbers whose sum is exact.
struct SplitSum {
  float coarse, fine;
};

/// Where the origin of split_sum() lies, in units.
constexpr int origin_bits = 45;

/// The exact sum of c and of the sums t of four groups, all multiples of u, where |c| < 2^36 u and the |t| add up to less
/// than 2^43 u. origin = 1.5 * 2^45 u lies amid a binade whose grid is 2^22 u: the coarse part collects multiples of that,
/// without error, and the fine part the rests, at most 2^21 u each, five of them below 2^24 u.
NVFP4_HOST_DEVICE inline SplitSum split_sum(float c, float t0, float t1, float t2, float t3, float origin) {
  float coarse = origin + c, fine = c - (coarse - origin);
  for (const float t : {t0, t1, t2, t3}) {
    const float next = coarse + t;
    fine += t - (next - coarse);
    coarse = next;
  }
  return {coarse - origin, fine};
}

}  // namespace nvfp4::gpu
