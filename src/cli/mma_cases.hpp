#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "instruction.hpp"
#include "mma_file.hpp"

namespace nvfp4::cli {

/// The case packs of an instruction: near, bits, zeros, cancelled, large_c, subnormals, ties, overflow, nonfinite.
std::vector<std::string_view> mma_packs();

/// Operands of one pack, 4 tiles of 16 x 8 x the instruction's K (64 where a model has none): a function of the
/// instruction, the pack and the seed alone.
MmaFile mma_case(const Instruction&, std::string_view pack, std::uint64_t seed);

}  // namespace nvfp4::cli
