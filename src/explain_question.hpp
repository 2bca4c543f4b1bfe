#pragma once
#include <cstdint>

#include <nvfp4/explain.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4 {

/// What explain() is asked about a row of the block of element (row, col), without random bits; its elements are
/// `values`, as many as the matrix has.
ExplainQuestion explain_question(MatrixView, const QuantizeSpec&, std::int64_t row, std::int64_t col);

}  // namespace nvfp4
