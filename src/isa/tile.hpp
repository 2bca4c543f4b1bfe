#pragma once
#include <cstdint>

#include "isa.hpp"

/// What an instruction set must supply for products of matrices.
namespace nvfp4::isa {

/// A tile of outputs: up to `tile_rows` rows of a, against a panel of b, which has rows of b side by side: element k of
/// its row j is panel[k * 16 + j].
inline constexpr std::int64_t tile_rows = 16, panel = 16;

/// Chains of aligned steps of products, from C = +0, with fraction_bits at most 25.
struct ProductTile {
  const float* significand;  ///< of rows `k` apart, whole numbers
  const std::int32_t* exponent;
  const float* panel_significand;
  const std::int32_t* panel_exponent;
  std::int64_t rows, k;
  int products;  ///< of a step: 4, 8, 16 or 32
  AlignedStep step;
  int smallest_exponent;  ///< of C
  int kept_bits;          ///< fraction bits of an FP32 result
  int added_every;  ///< products after which their sum is added to C to nearest; 0: C is a term of each step
  float* out;       ///< rows x panel; C, then D
};

/// Sums defined by values, each element times its scale.
struct ValueTile {
  const double* a;  ///< rows, `k` apart
  const double* panel;
  std::int64_t rows, k, chunk;
  float* out;  ///< rows x panel
};

struct Tiles {
  void (*products)(const ProductTile&);
  /// One rounding of the exact sum, where products and sums fit the bits of two FP64 numbers.
  void (*exact)(const ValueTile&);
  /// Summation::chunks and fp32_in_order.
  void (*chunks)(const ValueTile&);
  void (*in_order)(const ValueTile&);
};
}  // namespace nvfp4::isa
