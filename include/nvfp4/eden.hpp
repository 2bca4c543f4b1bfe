#pragma once
#include <stdexcept>

#include <nvfp4/random.hpp>

namespace nvfp4 {

/// MS-EDEN (arXiv 2601.22813) of a matrix y that was rotated: elements are rounded to nearest by dialect quartet2_eden,
/// and what that does to the length along y is undone in the block scales g:
///
///   S = <y, y> / <y, q>          over the `group` columns of a row that share it, y and q in units of g * tensor scale
///   g' = SR(S * g)               to E4M3 by SrRule::carry of 32 bits: word 0 of draw(random, row, block)
///
/// Each block's products are two chains of FMAs (quartet2_eden::products); blocks meet in halves: of n, the first n/2
/// each add the one n/2 further on, then the first n/4, and so on. A row's last group is filled up with zeros.
///
/// The mean over rotations is y but for a bias that falls as the rotation grows: Quartet II's corollary of no bias is
/// false (docs/schemes.md).
struct Eden {
  int group = 128;  ///< 16 in the paper; the size of the rotation, or 256, in the authors' code
  RandomBits random{};
};

/// Throws std::invalid_argument for a group that no layer has.
inline void validate(const Eden& e) {
  if (e.group < 16 || e.group > 256 || (e.group & (e.group - 1)) != 0)
    throw std::invalid_argument("a correction is shared by 16, 32, 64, 128 or 256 columns");
}

}  // namespace nvfp4
