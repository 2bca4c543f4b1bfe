#pragma once
#include <string>
#include <vector>

#include <nvfp4/io/array.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4::io {

/// One case of a golden file, whose arrays are named CASE/ARRAY.
struct GoldenCase {
  std::string name;                 ///< may contain '/'
  std::vector<std::string> arrays;  ///< "packed", "scales", ...; those the file has
};

/// In the order of the file. Arrays without a case, such as a manifest, are left out.
std::vector<GoldenCase> golden_cases(const ArrayFile&);

/// The input of a case: array CASE/input or CASE; uint16 is BF16 bits. Throws FileError where the file has
/// neither, or no matrix.
Matrix golden_input(const ArrayFile&, const std::string& name);

}  // namespace nvfp4::io
