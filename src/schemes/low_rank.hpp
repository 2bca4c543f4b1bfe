#pragma once
#include <cstdint>
#include <vector>

#include <nvfp4/random.hpp>
#include <nvfp4/tensor.hpp>

/// A truncated singular value decomposition in binary64 that every layer shares: loops in a fixed order, of additions,
/// products, divisions and square roots alone, so that no library's rounding enters.
namespace nvfp4::scheme {

/// A = U^T diag(s) V + residual, s descending; FP32, rounded from binary64.
struct LowRank {
  Matrix u, v;  ///< rank x rows, rank x columns; rows of one length 1 and orthogonal, or zeros where s is 0
  std::vector<float> s;
  Matrix residual;
};

/// The randomized one of Halko, Martinsson and Tropp (SIAM Review 53, 2011), algorithm 4.4 without oversampling, of an FP32
/// matrix: Q spans A W after `iterations` rounds of A^T and A, W a matrix of random signs (they take normal numbers, which
/// need a logarithm), and U, s and V are Q and the decomposition of Q^T A. The rank is at most A's rows or columns. Bit
/// j % 32 of word j % 128 / 32 of draw(bits, k, j / 128) set is a minus of W at (k, j).
LowRank low_rank(const Matrix& a, std::int64_t rank, int iterations, const RandomBits&);

}  // namespace nvfp4::scheme
