#pragma once
#include <cstdint>

#include <nvfp4/tensor.hpp>

/// What named inputs are made of.
namespace nvfp4 {

/// SplitMix64 (Steele, Lea, Flood 2014): the same stream on every machine.
struct Random {
  std::uint64_t state;
  std::uint64_t next() {
    std::uint64_t z = state += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
  }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  /// Near enough to a normal deviate, and free of the platform's logarithm: a sum of twelve uniforms.
  double normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return sum;
  }
};

/// Rounded to the matrix's element type, to nearest even.
void put(Matrix&, std::int64_t at, float value);

}  // namespace nvfp4
