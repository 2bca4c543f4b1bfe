#pragma once
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace nvfp4::cpu {

/// While it lives, this thread rounds to nearest even and keeps subnormals, whatever the caller (or a library
/// linked with fast-math start-up code) has set.
class FloatEnvironment {
#if defined(__SSE2__)
 public:
  FloatEnvironment() : saved_(_mm_getcsr()) { _mm_setcsr(0x1F80); }
  ~FloatEnvironment() { _mm_setcsr(saved_); }
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
  unsigned saved_;
#endif
};

}  // namespace nvfp4::cpu
