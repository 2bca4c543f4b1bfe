#pragma once
#include <cstdint>
#include <string>

namespace nvfp4 {

/// Numbers as messages have them.
std::string shortest(float);       ///< the fewest decimal digits that read back as the same float; "nan"
std::string hex32(std::uint32_t);  ///< 0x3F800000
std::string hex8(std::uint32_t);   ///< 0x7E
std::string fixed(double, int digits);

}  // namespace nvfp4
