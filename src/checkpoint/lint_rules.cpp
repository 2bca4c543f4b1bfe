#include <algorithm>
#include <array>
#include <stdexcept>

#include <nvfp4/lint.hpp>

namespace nvfp4 {
namespace {

using enum Severity;

constexpr std::array rules{
    LintRule{"NV001", error, "second-level scale looks inverted",
             "store its reciprocal, or read it in the other direction: compressed-tensors divides by "
             "2688/amax, ModelOpt and torchao multiply by amax/2688"},
    LintRule{
        "NV002", warning, "second-level scale looks applied twice",
        "it is the square of what the weight needs, or the block scales hold it already: quantize again, "
        "or store the scale once"},
    LintRule{"NV003", warning, "siblings have different second-level scales",
             "engines run q, k and v, or gate and up, as one matrix under one scale: quantize with a shared "
             "scale (nvfp4 quantize --shared-scale)"},
    LintRule{
        "NV004", error, "NaN block scale",
        "every value of the block is NaN, or 0 in ggml: the weight held a NaN, the scale was cast without "
        "saturation, or an all-zero matrix was divided by its amax"},
    LintRule{"NV005", error, "second-level scale is zero, infinite, NaN or negative",
             "expected a positive finite number: an all-zero matrix, or activations that were never seen, "
             "give 0 or Inf; store 1 there"},
    LintRule{"NV006", error, "block scales lie in another layout",
             "un-swizzle or swizzle the scales, or correct what the checkpoint says of their layout"},
    LintRule{"NV007", error, "padding of the block scales is not zero",
             "clear the buffer before the scales are written: kernels read its padding"},
    LintRule{"NV008", error, "declared NVFP4, stored otherwise",
             "the export kept or chose another format: export again, or correct the documents"},
    LintRule{"NV009", error, "a weight lacks a tensor, or a scale has no weight",
             "export again: loaders leave such a tensor out, or take 1 for a scale that is missing"},
    LintRule{"NV010", warning, "a module is not what the documents say",
             "correct the list of excluded modules: loaders build their layers by it"},
    LintRule{"NV011", warning, "nibble order differs from a sibling's",
             "swap the two codes of every byte of one of them: the low nibble holds the even column. Only a "
             "difference between gate and up of one layer is seen; an order that all weights have wrong "
             "cannot be"},
    LintRule{"NV012", error, "index and shards disagree", "fetch the missing shard, or write the index anew"},
    LintRule{"NV013", error, "sign bit set in block scales",
             "kernels ignore the bit and frameworks honour it: a block scale is never negative"},
    LintRule{"NV014", warning, "second-level scale or its reciprocal is subnormal",
             "kernels that flush subnormals take it for 0: rescale the weight"},
    LintRule{"NV015", error, "type of a scale tensor",
             "block scales are F8_E4M3 (MXFP4: U8 or F8_E8M0), second-level scales F32"},
    LintRule{"NV016", error, "shape of a scale tensor",
             "a block scale for each 16 elements of a row, and one second-level scale for each matrix"},
    LintRule{"NV017", warning, "all-zero weight",
             "was the layer trained, and its shard loaded, before it was quantized?"},
    LintRule{"NV018", info, "block scales end far below 448",
             "the second-level scale is larger than this matrix needs: subnormal block scales lose bits"},
    LintRule{"NV019", error, "declared group size is not the stored one",
             "NVFP4 has blocks of 16, MXFP4 of 32: correct the documents"},
    LintRule{"NV020", warning, "declared scales of the KV cache are missing",
             "engines take 1 for them: calibrate the cache, or do not declare it"},
    LintRule{"NV021", error, "declared scales of the inputs are missing",
             "calibrate the activations, or declare a weight-only format"},
    LintRule{"NV022", warning, "two documents declare different quantizers",
             "keep one: loaders differ in which they believe"},
};

}  // namespace

std::span<const LintRule> lint_rules() { return rules; }

const LintRule& lint_rule(std::string_view code) {
  const auto rule =
      std::find_if(rules.begin(), rules.end(), [&](const LintRule& r) { return r.code == code; });
  if (rule == rules.end())
    throw std::invalid_argument("lint code " + std::string(code) + ": expected NV001 to " +
                                std::string(rules.back().code));
  return *rule;
}

}  // namespace nvfp4
