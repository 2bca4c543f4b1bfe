#pragma once
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace nvfp4::cpu {

/// As MXCSR has it.
enum class RoundingMode : unsigned { to_nearest = 0, toward_zero = 0x6000 };

/// While it lives, this thread rounds so and keeps subnormals, whatever the caller (or a library linked with fast-math
/// start-up code) has set.
class FloatEnvironment {
#if defined(__SSE2__)
 public:
  explicit FloatEnvironment(RoundingMode mode = RoundingMode::to_nearest) : saved_(_mm_getcsr()) {
    _mm_setcsr(0x1F80 | static_cast<unsigned>(mode));
  }
  ~FloatEnvironment() { _mm_setcsr(saved_); }
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
  unsigned saved_;
#else
 public:
  explicit FloatEnvironment(RoundingMode = RoundingMode::to_nearest) {}
#endif
};

}  // namespace nvfp4::cpu
