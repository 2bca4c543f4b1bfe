#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

namespace nvfp4::cpu {

/// Copies at most 16 numbers of a row of outputs; 16, the most usual, without a call.
inline void copy_line(const float* from, float* to, std::int64_t count) {
  if (count == 16)
    std::memcpy(to, from, 16 * sizeof(float));
  else
    std::copy_n(from, count, to);
}

}  // namespace nvfp4::cpu
