#pragma once
#include <cstdint>
#include <vector>

#include <nvfp4/accumulation.hpp>
#include <nvfp4/producers.hpp>

#include "case_check.hpp"
#include "golden_file.hpp"

namespace nvfp4::cli {

/// Golden values of products: CASE/a_packed, a_scales, a_global, the same of b, and CASE/d float32 with the dialect's
/// own alpha. Throws UsageError where the accumulation does not take what the producer makes.
std::vector<GoldenArray> gemm_cases(const Producer&, const Accumulation&, std::uint64_t seed, const Kernels&);

/// One verdict a case of such a file: d, from its operands as they lie there. Throws io::FileError where an array is
/// missing or its shape does not fit.
std::vector<Verdict> check_gemm(const io::ArrayFile&, const Producer&, const Accumulation&, const Kernels&);

}  // namespace nvfp4::cli
