#pragma once
#include <nvfp4/tensor.hpp>

#include "command.hpp"

namespace nvfp4::cli {

/// What the dialects make of one input, each against each: differing bytes of codes and scales, differing values,
/// and the first element that differs. Dialects of other element or block sizes share no bytes, only values.
Outcome dialect_table(MatrixView x);

/// For each pair of dialects a case on which they part, or that none was found: the case packs, then `tries`
/// matrices on the boundaries of both.
Outcome witness_table(Dtype, std::int64_t tries);

}  // namespace nvfp4::cli
