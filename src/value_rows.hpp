#pragma once
#include <cstdint>
#include <vector>

#include "code_rows.hpp"

/// Operands as numbers, for sums that are defined by values alone: element * scale, exact in FP64, and so is the
/// product of two.
namespace nvfp4::cpu {

struct ValueRows {
  ValueRows(const CodeRows&, std::int64_t padded_k);
  const double* row(std::int64_t i) const { return values.data() + i * k; }

  std::int64_t k;
  std::vector<double> values;
  std::vector<bool> finite;  ///< a row
  int lowest_bit = 0;        ///< every finite value is a multiple of 2^lowest_bit
  int highest_bit = 0;       ///< and below 2^(highest_bit + 1)
};

/// Codes of FP32 sums over [first, first + n) of a row of each.
std::uint32_t exact_sum(const ValueRows& a, std::int64_t i, const ValueRows& b, std::int64_t j,
                        std::uint32_t c);
/// p = RNE of the exact sum, c = RZ of c + p; E2M1 elements under UE4M3 scales.
std::uint32_t add_chunk(const ValueRows& a, std::int64_t i, const ValueRows& b, std::int64_t j,
                        std::int64_t first, std::int64_t n, std::uint32_t c);
std::uint32_t add_in_order(const ValueRows& a, std::int64_t i, const ValueRows& b, std::int64_t j,
                           std::int64_t k, std::uint32_t c);

/// out[j] = the FP32 chain over all k of row i of a and row first + j of b, for `n` rows of b, from +0.
void fp32_chains(const ValueRows& a, std::int64_t i, const ValueRows& b, std::int64_t first, std::int64_t n,
                 float* out);

}  // namespace nvfp4::cpu
