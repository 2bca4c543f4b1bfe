#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <nvfp4/quantize.hpp>
#include <nvfp4/tensor.hpp>

/// Quantization-aware training and distillation: NVFP4 QAD (arXiv 2601.20088) and CKA-QAD (arXiv 2606.05682). The loss of
/// the first is KL(teacher || student), of the second top-k KL + lambda * cka_loss; the paper's k and lambda were not found.
namespace nvfp4 {

struct Kernels;

/// x quantized and decoded again, rounded to x's own element type. Throws std::invalid_argument where quantize does.
/// `spec.amax` freezes the tensor scale, as a calibrated one is.
Matrix fake_quantize(MatrixView x, const QuantizeSpec& spec, const Kernels&);

/// What fake_quantize passes back, its true derivative being zero almost everywhere: dL/dx = mask * dL/d(output).
enum class StraightThrough : std::uint8_t {
  identity,  ///< 1 everywhere
  clipped,  ///< 1 where |x| <= largest element * block scale * tensor scale, as the dialect decodes; else, and of NaN, 0
};

/// The mask, FP32 of x's shape. Block scales are those that x gets; under a block scale of zero only zeros are inside.
Matrix gradient_mask(MatrixView x, const QuantizeSpec& spec, StraightThrough, const Kernels&);

/// Linear CKA of two layers' hidden states for the same tokens, tokens x features, where the features may differ in number:
///
///   CKA = <H Ka H, H Kb H>_F / (|H Ka H|_F |H Kb H|_F)      Ka = A A^T, H = I - 1 1^T / tokens
///
/// 0 to 1 but for rounding; exactly 1 of A and A. The same bits on every machine and any number of threads: FP64, in this
/// order. Each feature less its mean, a sum over ascending tokens divided by their number; all times the power of two that
/// brings the largest magnitude into [1/2, 1); H K H (i, l) sums over ascending features, and each of the three sums of
/// squares and products over ascending l, then over ascending i; ab / sqrt(aa * bb).
/// Throws std::invalid_argument for other numbers of tokens, fewer than 2, values that are not finite, and hidden states
/// that are the same for every token, whose CKA is 0 / 0.
double cka(MatrixView a, MatrixView b);

/// sum over layers, ascending, of 1 - cka(student, teacher). Throws std::invalid_argument, naming the layer, where cka does,
/// and for no layers or other numbers of them.
double cka_loss(std::span<const MatrixView> student, std::span<const MatrixView> teacher);

struct KlOptions {
  double temperature = 1;  ///< divides both logits; the result is not multiplied by its square
  std::int64_t top_k =
      0;  ///< 0: all; else only the teacher's k largest logits count, of equal ones the first
};

struct Divergence {
  std::vector<double> rows{};  ///< one a token, in nats
  double mean = 0;             ///< their sum over ascending tokens, divided by their number
};

/// KL(teacher || student) = sum over j of p_j (log p_j - log q_j), p and q the softmax of logits / temperature, tokens x
/// vocabulary, over all j or over the teacher's top k, both renormalised over those. A logit of -Inf has no probability:
/// p_j = 0 adds nothing, q_j = 0 under p_j > 0 makes +Inf.
///
/// Stable: z_j - max z, all in FP64. Where exp and log err by at most an ulp, a row is within 2^-50 (V + 8 + 5 R) (1 + R) of
/// the exact value for these logits, V the number of j and R the largest finite |logit| / temperature plus log V; the mean
/// adds n 2^-53 of itself, n the number of rows.
/// Throws std::invalid_argument, naming row and column, for NaN and +Inf; for shapes that differ, no tokens, a row of
/// nothing but -Inf in the teacher, a temperature that is not from 2^-126 to 2^126 and a top_k that is not 0 to V.
Divergence kl_divergence(MatrixView teacher, MatrixView student, const KlOptions& = {});

}  // namespace nvfp4
