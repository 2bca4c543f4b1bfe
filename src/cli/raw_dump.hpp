#pragma once
#include <string>

#include <nvfp4/layout.hpp>

#include "case_check.hpp"

namespace nvfp4::cli {

/// Files of bare bytes, as a kernel left them in memory.
struct RawDump {
  std::string codes, scales, col_codes, col_scales;
  std::string layout = "linear";  ///< of the scales
  std::string
      mask;  ///< "padding": no padding byte is compared; or a file, one byte a scale byte, not 0 where it is padding
  std::int64_t experts = 1,
               expert = 0;  ///< each file holds all experts, one after another; this one is meant
  bool given() const {
    return !codes.empty() || !scales.empty() || !col_codes.empty() || !col_scales.empty();
  }
};

/// Checks a dump against its input. Scale padding must be 0 except where the mask says otherwise. Throws
/// io::FileError for a dump of the wrong size.
Verdict check_dump(const RawDump&, MatrixView input, const Producer&, const Kernels&, CompareMode);

}  // namespace nvfp4::cli
