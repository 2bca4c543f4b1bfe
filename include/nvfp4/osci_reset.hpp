#pragma once
#include <cstdint>
#include <vector>

#include <nvfp4/tensor.hpp>

namespace nvfp4 {

struct Kernels;

/// TetraJet-v2's OsciReset (arXiv 2510.27527): master weights whose quantized values move far while they themselves hardly
/// do are put onto the grid. Every `period` steps, from `start` on, `track` steps are watched. Of a weight w with
/// d = dq(Q(w)) by dialect tetrajet_v2,
///
///   ratio = (sum over those steps of |d - d of the step before|) / (the same sum of |w|'s), 0 where w never moved
///
/// and after them w := d where ratio >= threshold. Sums are FP32 in the order of steps. With outlier channels in MXFP8 the
/// authors watch the columns in FP4 alone, side by side as they are quantized.
struct OsciReset {
  std::int64_t period = 400, track = 50;
  std::int64_t start = 0;  ///< 15,000 and 35,000 in the authors' runs of 150M and 370M parameters
  float threshold = 8;     ///< their configurations'; 16 is their code's default
  /// Percent of the elements that are watched, from those nearest a bin's edge on: the largest |w / s - q| / (the bin's
  /// width), with s both scales and q the E2M1 value; ties as they come. 10 is the authors' memory-efficient variant.
  int share = 100;
};

/// What is kept from step to step; empty outside of watched steps. All have one length.
struct OsciResetState {
  std::vector<std::int64_t> elements{};  ///< row-major indices, ascending
  std::vector<float> w{}, d{};           ///< of the step before
  std::vector<float> w_moved{}, d_moved{};
  friend bool operator==(const OsciResetState&, const OsciResetState&) = default;
};

struct OsciResetStep {
  Matrix w;
  OsciResetState state;
  std::int64_t resets = 0;
};

/// The weights after optimizer step `step`, counted from 0: at multiples of the period a watch begins, and one step after
/// it ended weights are reset. A watch whose beginning was not seen does not take place. Throws std::invalid_argument for
/// weights that are not FP32, a state of other weights, and numbers that do not go together.
OsciResetStep osci_reset(Matrix w, std::int64_t step, const OsciReset&, OsciResetState, const Kernels&);

}  // namespace nvfp4
