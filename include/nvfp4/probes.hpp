#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nvfp4/kernels.hpp>

namespace nvfp4 {

/// One dot product: an E2M1 code an element, a scale byte a block, C as FP32 bits.
struct Probe {
  std::string name;
  std::vector<std::uint64_t> a, b;
  std::vector<std::uint8_t> a_scales, b_scales;
  std::uint32_t c = 0;
};

/// What a tensor core might do instead: another accumulation, on operands that it may read in another way.
struct Hypothesis {
  std::string_view name, says;
  Accumulation acc;
  void (*read)(Probe&) = nullptr;
};

/// Probes of one instruction, and what they tell apart. The first hypothesis is the model of that instruction; each
/// probe parts some of the hypotheses, and every two of them part on some probe.
struct ProbeSet {
  std::string_view name;
  int block;  ///< elements that share a scale
  std::vector<Probe> probes;
  std::vector<Hypothesis> hypotheses;
};

/// The FP4 instructions of Blackwell: `nvfp4` (K = 64), `nvfp4_chain` (two of them), `nvfp4_k96` (sm_103) and
/// `mxfp4`. Source: tensorcore.md 8.2 has the reasons of most probes; MMA-Sim (arXiv:2511.10909) the model.
std::vector<ProbeSet> probe_sets();

/// D of each probe under a hypothesis of its set, as FP32 bits.
std::vector<std::uint64_t> predict(const ProbeSet&, const Hypothesis&, const Kernels&);

/// The hypotheses that give every measured D bit for bit. Throws std::invalid_argument for another count than probes.
std::vector<std::string_view> survivors(const ProbeSet&, const std::vector<std::uint64_t>& measured,
                                        const Kernels&);

}  // namespace nvfp4
