#pragma once
#include <span>

#include <nvfp4/gpu.hpp>

namespace nvfp4::gpu {

/// Counts results, of so many bytes each, and keeps the first difference.
template <class Code>
void tally(InstructionCheck& check, const std::vector<Code>& expected, const std::vector<Code>& actual,
           int bytes) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const std::uint64_t apart = expected[i] ^ actual[i];
    std::int64_t differing = 0;
    for (int b = 0; b < bytes; ++b) differing += (apart >> (8 * b) & 0xFF) != 0;
    ++check.cases;
    check.equal += differing == 0;
    check.differing_bytes += differing;
    if (differing && check.first.empty())
      check.first = "result " + std::to_string(i) + ": expected " + std::to_string(expected[i]) + ", found " +
                    std::to_string(actual[i]);
  }
}

std::vector<InstructionCheck> check_conversions(std::uint64_t seed);

/// Each matrix instruction on random operands, and the FP4 ones on the probes of probe_sets().
std::vector<InstructionCheck> check_mma(std::uint64_t seed);

}  // namespace nvfp4::gpu
