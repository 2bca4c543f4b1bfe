#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <nvfp4/recipe.hpp>

#include "case_check.hpp"
#include "golden_file.hpp"

namespace nvfp4::cli {

/// Golden values of linear layers: CASE/x, CASE/w, CASE/dy and CASE/y, CASE/dx, CASE/dw, all float32.
std::vector<GoldenArray> linear_cases(const Recipe&, std::uint64_t seed, const Kernels&);

/// One verdict a case of such a file. Throws io::FileError where an array is missing or its shape does not fit.
std::vector<Verdict> check_linear(const io::ArrayFile&, const Recipe&, std::uint64_t seed, const Kernels&);

}  // namespace nvfp4::cli
