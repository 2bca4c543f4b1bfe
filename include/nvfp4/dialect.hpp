#pragma once
#include <cstdint>
#include <string_view>

#include <nvfp4/scale.hpp>

namespace nvfp4 {

/// One producer's order of FP32 operations and its edge policies. In this field the order of operations
/// is part of the format: orders that agree over the reals differ in the last bit. This record says
/// what a dialect is; its steps are written once, in include/nvfp4/dialects/NAME.hpp.
struct Dialect {
  std::string_view name;
  std::string_view version;  ///< of the producer whose bytes this is
  std::string_view source;   ///< what was read or run
  std::string_view
      evidence;  ///< "golden" (held by the producer's own bytes), "code", "documented"; or "inferred: WHAT"
  GlobalIs global_is;
  int global_divisor;  ///< where global_is amax: decode scale = amax / divisor; else 0
};

}  // namespace nvfp4
