#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <nvfp4/formats.hpp>

namespace nvfp4::cli {

/// FP32 inputs at which encoders of a format part: its values and the midpoints between them, each one ulp
/// below, on and above, both signs; beyond its range; zeros, subnormals, infinities and NaNs.
std::vector<float> boundary_values(Format);

/// All 65536 BF16 values.
std::vector<float> bf16_values();

/// Codes to decode: all of a format of up to 16 bits; of TF32 those whose low 13 bits are zero, thinned.
std::vector<std::uint32_t> codes_of(Format);

}  // namespace nvfp4::cli
