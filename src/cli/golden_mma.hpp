#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "case_check.hpp"
#include "golden_file.hpp"
#include "instruction.hpp"

namespace nvfp4::cli {

/// Golden values of one instruction: A, B, [SFA, SFB], C and D, tile by tile as tests/golden/mma_sim has them, and
/// `case`, uint8: of which of the packs each tile is.
std::vector<GoldenArray> mma_arrays(const Instruction&, const std::vector<std::string>& packs,
                                    std::uint64_t seed, const Kernels&);

/// One verdict a pack of such a file: D, from its operands as they lie there. Throws io::FileError where an array is
/// missing or its shape does not fit.
std::vector<Verdict> check_mma(const io::ArrayFile&, const Instruction&,
                               const std::vector<std::string>& packs, const Kernels&);

}  // namespace nvfp4::cli
