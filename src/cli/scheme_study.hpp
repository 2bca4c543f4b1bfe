#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include <nvfp4/linear.hpp>

namespace nvfp4::cli {

/// What one product of a layer comes out as by a recipe, over several seeds. Errors are relative to the exact product, in
/// the Frobenius norm; it is FP64, of BF16 operands, whose products are exact there.
struct ProductCost {
  double error = 0;          ///< root of the mean over the seeds of the squared error
  double error_of_mean = 0;  ///< of the mean over the seeds: the bias, and what is left of the noise
  double largest_error = 0;  ///< of one element, over the largest of the exact product
  double bits_a = 0,
         bits_b = 0;           ///< stored a value of the operand: all that its terms have, each tensor once
  double multiplications = 0;  ///< of all terms, over those of the plain product
};

using LayerCost = std::array<ProductCost, 3>;  ///< in the order of all_gemms

/// A layer's operands in BF16, and its exact products.
class SchemeStudy {
 public:
  SchemeStudy(MatrixView x, MatrixView w, MatrixView dy, const Kernels&);

  /// Seeds are seed, seed + 1, ... Throws std::invalid_argument where linear() does.
  LayerCost cost(const Recipe&, std::uint64_t seed, int draws) const;

 private:
  struct Exact {
    std::int64_t rows, cols, depth;
    std::vector<double> values;
    double norm, largest;
  };
  class Errors;
  static Exact exact(const Matrix& a, const Matrix& b, const Kernels&);

  const Kernels& kernels_;
  Matrix x_, w_, dy_;
  std::vector<Exact> exact_;
};

}  // namespace nvfp4::cli
