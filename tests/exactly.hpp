#pragma once
#include <cmath>
#include <cstdint>

#include <boost/multiprecision/cpp_int.hpp>

/// Numbers as integers, for oracles that round nothing.
namespace exact_integers {

using boost::multiprecision::cpp_int;

/// Integers count units of 2^-640.
inline constexpr int unit = -640;

/// A finite x; what is below the unit is cut.
inline cpp_int exactly(double x) {
  int exponent = 0;
  const auto significand = static_cast<std::int64_t>(std::ldexp(std::frexp(x, &exponent), 53));
  const int shift = exponent - 53 - unit;
  const cpp_int magnitude = std::abs(significand);
  const cpp_int whole = shift >= 0 ? cpp_int(magnitude << shift) : cpp_int(magnitude >> -shift);
  return significand < 0 ? cpp_int(-whole) : whole;
}

}  // namespace exact_integers
