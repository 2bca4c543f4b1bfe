// Prints each licence that the compiler took in probe.cpp; exit 1 where there is one.
#include <bit>
#include <cstdint>
#include <cstdio>

#include "probe.hpp"

namespace {

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }

bool can_run() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("fma");
#else
  return true;
#endif
}

int found(bool taken, const char* licence) {
  if (taken) std::puts(licence);
  return taken;
}

}  // namespace

int main() {
  if (!can_run()) {
    std::puts("not run: this machine has no FMA");
    return 0;
  }
  // (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24; the last term is a tie and rounds away, unless it is never rounded.
  const int count =
      found(bits(probe.multiply_add(0x1.001p0f, 0x1.001p0f, -0x1.002p0f)) != 0,
            "contraction: a * b + c rounded once") +
      found(bits(probe.add_subtract(0x1p-30f, 1.0f)) != 0, "reassociation: (a + b) - b became a") +
      found(bits(probe.divide_by_3(5.0f)) != 0x3FD55555u, "reciprocal: 5 / 3 is not the rounded quotient") +
      found(bits(probe.add_zero(-0.0f)) != 0, "sign of zero: -0 + 0 is not +0") +
      found(bits(probe.halve(0x1p-126f)) != 0x00400000u, "subnormals flushed: 2^-126 / 2 is not 2^-127") +
      found(!probe.is_nan(std::bit_cast<float>(0x7FC00000u)), "NaN folded: a != a is false for NaN");
  return count != 0;
}
