#pragma once
#include <string>
#include <vector>

#include <nvfp4/io.hpp>
#include <nvfp4/kernels.hpp>
#include <nvfp4/producers.hpp>

#include "command.hpp"
#include "golden_compare.hpp"

namespace nvfp4::cli {

/// What was found in one case of somebody's file.
struct Verdict {
  std::string name;
  bool refused = false;  ///< by the producer: the file has no results for this input
  std::int64_t arrays = 0, differing_bytes = 0;
  InertDifferences inert{};
  Json first{};        ///< the first difference, if any
  std::string text{};  ///< the same in one line
  bool equal() const { return !refused && differing_bytes == 0; }
};

/// Recomputes each of `given` (named packed, scales, ...) from the input. Throws io::FileError for an array
/// that the producer does not make, or of another type or shape.
Verdict check_case(std::string name, MatrixView input, const std::vector<io::Array>& given, const Producer&,
                   const Kernels&, CompareMode);

}  // namespace nvfp4::cli
