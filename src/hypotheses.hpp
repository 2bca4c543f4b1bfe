#pragma once
#include <vector>

#include <nvfp4/probes.hpp>

namespace nvfp4 {

/// The hypotheses of each ProbeSet, its model first.
std::vector<Hypothesis> nvfp4_hypotheses();
std::vector<Hypothesis> chain_hypotheses();
std::vector<Hypothesis> k96_hypotheses();
std::vector<Hypothesis> mxfp4_hypotheses();

}  // namespace nvfp4
