#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <nvfp4/gemm.hpp>

/// Bounds of the errors of quantized products; docs/bounds.md derives each. All are computed in binary64 and rounded
/// upwards, so that what holds of a formula holds of its number.
namespace nvfp4 {

struct ErrorBound {
  double worst = 0;  ///< the error's magnitude never exceeds this
  /// Under the model that roundings to nearest (and at random) are centred given all before them, and that what a
  /// truncation discards is uniform: the largest mean, and the sum of the squared half-ranges about it.
  double bias = 0, square = 0;
  /// Exceeded with a probability of at most 1 - `probability` under that model; never above `worst`.
  double probable(double probability) const;
};

/// What is known of products p = a * b, block scales included, that one output sums. Any but the quantum may be
/// larger than the truth.
struct Products {
  std::int64_t count = 0;
  double magnitude = 0;  ///< the sum of |p|
  double alignment = 0;  ///< the largest 2^e, e an exponent by which the accumulation aligns one
  double quantum = 0;    ///< a power of two of which every p is a multiple; 0: none is known
};

/// Of exact products. Without `alignments` (a 2^e for each) e = floor(log2 |p|), which no product of two normal
/// elements exceeds; groups are aligned by their scales alone, so they need them.
Products products(std::span<const double> p, std::span<const double> alignments = {});

/// |D - (C + sum of p)|, whatever the order of k, and for sums of rounded FP32 numbers whatever the tree.
ErrorBound accumulation_bound(const Accumulation&, const Products& all, double c = 0);

/// The same of k in order, sharper: what each instruction (of Accumulation::k products) takes.
ErrorBound accumulation_bound(const Accumulation&, std::span<const Products> instructions, double c = 0);

struct Interval {
  double low = 0, high = 0;
  bool contains(double x) const { return low <= x && x <= high; }
};

/// The exact sum: one number where binary64 has it, else an enclosure of a few of its units.
Interval exact_sum(std::span<const double> p);

/// Encloses every FP32 result that the accumulation gives for any order of these exact products from C = +0; by
/// fp32_in_order also those of any tree of FP32 additions.
Interval any_order(std::span<const double> p, const Accumulation&, std::span<const double> alignments = {});

/// False too where `value` is NaN.
bool within_any_order(float value, std::span<const double> p, const Accumulation&,
                      std::span<const double> alignments = {});

/// |x - element * scale| for each |x| <= amax of a block whose stored scale decodes to `scale`, the tensor scale
/// included and not below 2^-100. Stochastic where spec.stochastic is set. `dtype` is the input's.
struct ElementBound {
  double worst = 0;
  double bias = 0;             ///< of the mean over random bits; 0 for RNE, by the model of ErrorBound
  double expected_square = 0;  ///< of the error over random bits; for RNE worst^2
};
ElementBound element_bound(const QuantizeSpec&, double amax, double scale, Dtype dtype = Dtype::fp32);

/// The largest block amax, over the tensor scale, to which the dialect gives this scale byte. Infinite for a NaN, and
/// for 448 where the tensor scale need not cover the tensor: with a single level, or an amax of the caller's.
double largest_amax(const QuantizeSpec&, std::uint8_t scale, Dtype dtype = Dtype::fp32);

/// What holds of any tensor of this amax before it is quantized.
struct TensorBound {
  double relative = 0;     ///< the largest worst / amax of a block whose scale is a normal number below 448
  ElementBound element{};  ///< of any element; infinite under a tensor scale below 2^-100
  double unit = 1;         ///< the tensor scale, by which values are multiples of
  double value = 0;        ///< the largest |element * block scale|
  double scale = 0;        ///< the largest block scale
};
TensorBound tensor_bound(const QuantizeSpec&, float amax, Dtype dtype = Dtype::fp32);

/// A row of a quantized operand, in units of its tensor scale.
struct BoundRow {
  std::vector<double> values;      ///< element * block scale, exact
  std::vector<double> alignments;  ///< powers of two: the product of two is a product's in Products
  std::vector<double> errors;      ///< what quantization may have changed, from the scales alone, or infinity
};
/// Throws std::invalid_argument for a value or tensor scale that is not finite, and where a row has several such scales.
std::vector<BoundRow> bound_rows(const BlockScaledTensor&, const Accumulation&);

/// What the second-level scale of an element multiplies by.
double tensor_scale(const BlockScaledTensor&, std::int64_t row, std::int64_t col);

/// |sum a b - sum of the quantized values' products|: the sum of |a| E_b + E_a |b| + E_a E_b, of quantized or of
/// true |a| and |b|. As in ErrorBound it is centred.
ErrorBound quantization_bound(std::span<const double> a, std::span<const double> a_errors,
                              std::span<const double> b, std::span<const double> b_errors);

/// Of an output: what quantization and what accumulation, in any order of k, change.
struct ProductBound {
  ErrorBound quantization{}, accumulation{};
};

/// From given scales, in units of both tensor scales.
ProductBound product_bound(const BoundRow& a, const BoundRow& b, const Accumulation&);

/// Of K elements before anything is known but amaxes, in the units of FP32 inputs.
ProductBound product_bound(const QuantizeSpec& a, float a_amax, const QuantizeSpec& b, float b_amax,
                           std::int64_t k, const Accumulation&);

/// One output of a GEMM against the exact alpha * A * transpose(B) + bias + beta * C of the quantized operands.
struct OutputError {
  double measured = 0, bound = 0;
};

/// M x N, of d as gemm() computes it or a kernel that takes k in another order; a d of BF16 or FP16 was rounded to
/// nearest even. Throws std::invalid_argument where gemm() does, or bound_rows().
std::vector<OutputError> output_errors(const BlockScaledTensor& a, const BlockScaledTensor& b,
                                       const Accumulation&, const GemmSpec&, const Matrix& d);

}  // namespace nvfp4
