#pragma once
#include <cstdint>
#include <optional>

#include <nvfp4/cases.hpp>

namespace nvfp4 {

/// Numbers on the decisions of one dialect's own arithmetic, of which random data sees next to none: block
/// amaxes where its block scale steps to the next code (underflowing ones among them), and elements where
/// their code does, each the last number before a step or the first behind it. Bisection of what the cpu layer
/// makes of them finds them, so whatever a dialect multiplies, divides, clamps or flushes is met.
/// Rows of 96: the first block holds `tensor_amax`, those behind it lie on boundaries.
Matrix boundary_rows(const QuantizeSpec&, Dtype, float tensor_amax, std::int64_t rows, std::uint64_t seed);

/// Whether two specs part on an input: in a code, a block scale or a decoded value. A NaN equals a NaN, codes
/// that are their machine's accident do not count, nor do second-level scales, which are kept in several ways.
bool part_on(MatrixView, const QuantizeSpec&, const QuantizeSpec&);

struct Witness {
  std::optional<Case> input;  ///< on which the two part; empty where none was found
  std::int64_t tries = 0;     ///< matrices looked at
};

/// Looks for an input on which two specs part: the case packs first, then up to `tries` matrices on the
/// boundaries of either, under tensor amaxes drawn by the seed.
Witness find_witness(const QuantizeSpec&, const QuantizeSpec&, Dtype, std::int64_t tries, std::uint64_t seed);

}  // namespace nvfp4
