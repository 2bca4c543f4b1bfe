#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "reference/exact.hpp"

using namespace nvfp4;
using reference::Dyadic;

namespace {

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }
float pattern(std::uint32_t bits) { return std::bit_cast<float>(bits); }

/// The machine's own operation, kept from the compiler's folding.
float machine_multiply(float a, float b) {
  volatile float x = a, y = b;
  return x * y;
}
float machine_divide(float a, float b) {
  volatile float x = a, y = b;
  return x / y;
}

bool same(float machine, float exact) {
  return std::isnan(machine) ? bits(exact) == 0x7FC00000 : bits(machine) == bits(exact);
}

const std::uint32_t edges[] = {0,          1,          2,          3,          0x400000,
                               0x7FFFFF,   0x800000,   0x800001,   0x1000000,  0x3F000000,
                               0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x3FC00000, 0x7EFFFFFF,
                               0x7F000000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000};

/// Edges, subnormals, anything, and numbers near one, whose products tie, in equal parts.
class Inputs {
 public:
  float next() {
    const std::uint32_t any = static_cast<std::uint32_t>(random_());
    const std::uint32_t sign = any & 0x80000000;
    switch (random_() % 4) {
      case 0: return pattern(sign | edges[random_() % std::size(edges)]);
      case 1: return pattern(any & 0x80FFFFFF);
      case 2: return pattern((any & 0x80000FFF) | 0x3F800000 | (any >> 12 & 0x7FF) << 12);
      default: return pattern(any);
    }
  }

 private:
  std::mt19937_64 random_{20};
};

}  // namespace

TEST_CASE("multiply and divide are the machine's, bit for bit") {
  Inputs inputs;
  std::size_t differing = 0;
  for (int i = 0; i < 300000; ++i) {
    const float a = inputs.next(), b = inputs.next();
    differing += !same(machine_multiply(a, b), reference::multiply(a, b));
    differing += !same(machine_divide(a, b), reference::divide(a, b));
  }
  CHECK(differing == 0);
}

/// c near -a b, so that much cancels, in a third of them.
TEST_CASE("multiply_add is the machine's, bit for bit") {
  Inputs inputs;
  std::size_t differing = 0, fused = 0;
  for (int i = 0; i < 300000; ++i) {
    const float a = inputs.next(), b = inputs.next(), c = i % 3 ? inputs.next() : -machine_multiply(a, b);
    const float exact = reference::multiply_add(a, b, c);
    differing += !same(std::fma(a, b, c), exact);
    fused += bits(exact) != bits(reference::add(reference::multiply(a, b), c));
  }
  for (const std::uint32_t x : edges)
    for (const std::uint32_t y : edges)
      for (const std::uint32_t z : edges)
        for (const std::uint32_t signs : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u}) {
          const float a = pattern(x | signs << 31), b = pattern(y | signs >> 1 << 31),
                      c = pattern(z | signs >> 2 << 31);
          differing += !same(std::fma(a, b, c), reference::multiply_add(a, b, c));
        }
  CHECK(differing == 0);
  CHECK(fused > 1000);
}

TEST_CASE("multiply and divide of every pair of edges") {
  for (const std::uint32_t x : edges)
    for (const std::uint32_t y : edges)
      for (const std::uint32_t signs : {0u, 1u, 2u, 3u}) {
        const float a = pattern(x | signs << 31), b = pattern(y | signs >> 1 << 31);
        CAPTURE(a);
        CAPTURE(b);
        CHECK(same(machine_multiply(a, b), reference::multiply(a, b)));
        CHECK(same(machine_divide(a, b), reference::divide(a, b)));
      }
}

TEST_CASE("the value of every kind of FP32 survives") {
  for (const std::uint32_t x : edges)
    if (x < 0x7F800000) CHECK(bits(reference::round_to_fp32(reference::exact(pattern(x)))) == x);
  CHECK(bits(reference::round_to_fp32(reference::exact(pattern(0x80000001)))) == 0x80000001);
}

TEST_CASE("rounding to FP32: ties, carries, subnormals, overflow") {
  const auto rounded = [](reference::cpp_int significand, int exponent) {
    return bits(reference::round_to_fp32({std::move(significand), exponent}));
  };
  CHECK(rounded((1 << 24) + 1, 0) == bits(0x1p24f));         // tie, down to even
  CHECK(rounded((1 << 24) + 3, 0) == bits(0x1.000004p24f));  // tie, up to even
  CHECK(rounded(reference::cpp_int((1 << 24) + 1) << 100 | 1, -100) == bits(0x1.000002p24f));  // just above
  CHECK(rounded((1 << 25) - 1, 0) == bits(0x1p25f));  // carry into the next binade
  CHECK(rounded(1, -150) == 0);                       // half the smallest: tie to even
  CHECK(rounded(-1, -150) == 0x80000000);
  CHECK(rounded(3, -151) == 1);
  CHECK(rounded((1 << 24) - 1, -150) == 0x800000);   // subnormal carry to the smallest normal
  CHECK(rounded((1 << 25) - 1, 103) == 0x7F800000);  // halfway to 2^128
  CHECK(rounded((1 << 26) - 3, 102) == 0x7F7FFFFF);
  CHECK(rounded(-1, 5000) == 0xFF800000);
  CHECK(rounded(0, 7) == 0);
}

TEST_CASE("dyadic numbers compare and add by value") {
  CHECK(Dyadic{4, 0} == Dyadic{1, 2});
  CHECK(Dyadic{-1, -200} < Dyadic{0, 50});
  CHECK(!(Dyadic{1, 100} < Dyadic{1, 100}));
  CHECK(Dyadic{1, 100} + Dyadic{1, -100} == Dyadic{(reference::cpp_int(1) << 200) + 1, -100});
  CHECK(Dyadic{3, -1} * Dyadic{-5, 4} == Dyadic{-15, 3});
  CHECK(reference::half({1, 0}) == Dyadic{1, -1});
}
