#pragma once
#include <array>
#include <optional>
#include <span>
#include <vector>

#include <nvfp4/inspect.hpp>
#include <nvfp4/lint.hpp>

#include "convention.hpp"
#include "scale_order.hpp"

namespace nvfp4 {

struct HeldWeight {
  const Convention* convention;
  Weight weight;
};
/// Those of every convention, a tensor in one weight only: of the checkpoint's own convention first.
std::vector<HeldWeight> held_weights(const Checkpoint&);

/// A block that shows something of who made it: its codes, two a byte, and its scale.
struct WitnessBlock {
  std::array<std::uint8_t, 8> codes;
  std::uint8_t scale;
};

struct ExpertFacts {
  double top = 0;     ///< largest magnitude of element times block scale
  int top_scale = 0;  ///< code of the largest block scale, its sign and NaNs left out
};

/// What one pass over a weight's bits shows.
struct WeightFacts {
  ScaleHistogram scales;
  std::optional<BlockPlace> nan, negative;  ///< the first block scale of that kind
  std::int64_t zero_elements = 0;
  std::vector<ExpertFacts> experts;  ///< of each matrix of a stack, or of the one
  std::optional<SecondScale> second, input;
  std::optional<ScaleOrder> order;
  /// Of the first columns, by pairs that share a byte: how much larger the low one is over the first rows, -1 to 1.
  std::vector<float> pair_steps;
  std::vector<WitnessBlock> witnesses;       ///< of NVFP4, where no 16 rows share each scale
  std::array<std::int64_t, 256> of_zeros{};  ///< scale bytes of blocks in which every code is a zero

  float second_at(std::size_t expert) const { return second->of(static_cast<std::int64_t>(expert)); }
  /// What the second-level scale multiplies by on the way out; 1 where there is none.
  double decode_at(std::size_t expert) const;
  /// Largest magnitude that the matrix decodes to.
  double amax_at(std::size_t expert) const { return experts[expert].top * decode_at(expert); }
};

/// Of each weight, in their order. Memory holds one weight a thread.
std::vector<WeightFacts> facts_of(const Checkpoint&, std::span<const HeldWeight>, int threads,
                                  const CheckpointWatch&);

/// Of an E4M3 byte without its sign, NaN included (as 480), or of an E8M0 byte.
double block_scale_value(Format, std::uint8_t code);

}  // namespace nvfp4
