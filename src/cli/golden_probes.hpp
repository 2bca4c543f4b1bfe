#pragma once
#include <vector>

#include "case_check.hpp"
#include "golden_file.hpp"

namespace nvfp4::cli {

/// nvfp4/probes.hpp as arrays, which `nvfp4 mma --select SET` reads: SET.a, SET.b (probes, K), SET.sfa, SET.sfb,
/// SET.c, SET.d of the model, and SET.alt_NAME for each other hypothesis.
std::vector<GoldenArray> probe_arrays(const Kernels&);

/// Of each set: its model, and the names of its probes and hypotheses with what those say.
Json describe_probes();

/// One verdict a set of such a file. Throws io::FileError where an array is missing or has another shape.
std::vector<Verdict> check_probes(const io::ArrayFile&, const Kernels&);

}  // namespace nvfp4::cli
