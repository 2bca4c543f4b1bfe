#include <nvfp4/accumulation.hpp>

#include <algorithm>
#include <iterator>

namespace nvfp4 {
namespace {

using enum Format;
constexpr Format bf16_only[] = {bf16}, fp16_only[] = {fp16}, tf32_only[] = {tf32}, e2m1_only[] = {e2m1};
constexpr Format fp8[] = {e4m3, e5m2}, fp8_fp6_fp4[] = {e4m3, e5m2, e3m2, e2m3, e2m1};

constexpr std::string_view literature =
    "MMA-Sim 2.1.1 (arXiv:2511.10909): random bitwise equivalence reported by its authors";
constexpr std::string_view silicon =
    "results of the GPU itself, published with MATLAB-tensor-core (arXiv:2512.07004)";
constexpr std::string_view h200 =
    "measured on an H200 (golden/h200_mma), NaN bits and signs of zero included";
constexpr std::string_view published_only =
    "rests on published models (MMA-Sim 2.1.1; DeepGEMM issue 176 agrees in kind) until a Blackwell run "
    "confirms it";
constexpr std::string_view unmeasured = "not measured; taken from the row of sm_100 or sm_120";

constexpr std::string_view very_high = "very high", high = "high",
                           fp4_confidence = "high for values; medium for zero groups and -0",
                           medium = "medium", by_definition = "by definition";

/// Unscaled steps. e_zero is -108 less the generation's fraction bits (tensorcore.md 2).
constexpr Accumulation dense(std::string_view name, std::span<const Format> elements, int k, int step,
                             int fraction_bits, std::string_view evidence, std::string_view confidence) {
  return {.name = name,
          .k = k,
          .step = step,
          .fraction_bits = fraction_bits,
          .zero_exponent = -108 - fraction_bits,
          .has_fp16 = elements[0] == fp16,
          .elements = elements,
          .evidence = evidence,
          .confidence = confidence};
}

/// FP8 before Blackwell: 13 bits, also of the result, under its generation's e_zero.
constexpr Accumulation narrow_fp8(std::string_view name, int step, int zero_exponent,
                                  std::string_view evidence, std::string_view confidence) {
  Accumulation acc = dense(name, fp8, 32, step, 13, evidence, confidence);
  acc.zero_exponent = zero_exponent;
  acc.out = Conversion::rz_e8m13;
  acc.has_fp16 = true;
  return acc;
}

/// What the compiler makes of FP8 mma.sync where the hardware has none: two FP16 steps, then an ordinary add.
constexpr Accumulation emulated_fp8(std::string_view name) {
  Accumulation acc = dense(name, fp8, 32, 16, 25, h200, "high");
  acc.k_order = KOrder::mod4;
  acc.c_in_sum = false;
  acc.has_fp16 = true;
  return acc;
}

constexpr Accumulation f8f6f4(std::string_view name) {
  Accumulation acc = dense(name, fp8_fp6_fp4, 32, 32, 25,
                           "MMA-Sim 2.1.1; DeepGEMM issue 176 (B200), TensorRev (Thor): 25 bits", high);
  acc.has_fp16 = true;
  return acc;
}

constexpr Accumulation mxf8f6f4(std::string_view name) {
  Accumulation acc = dense(name, fp8_fp6_fp4, 32, 32, 25, literature, high);
  acc.scale = e8m0;
  acc.block = 32;
  return acc;
}

/// kind::mxf4 and kind::mxf4nvf4: exact dot products of 16, aligned by the exponents of their scales alone.
constexpr Accumulation fp4(std::string_view name, Format scale, int k, std::string_view evidence,
                           std::string_view confidence) {
  Accumulation acc = dense(name, e2m1_only, k, k, 35, evidence, confidence);
  acc.zero_exponent = -139;
  acc.group = 16;
  acc.align = Align::group;
  acc.scale = scale;
  acc.block = scale == ue4m3 ? 16 : 32;
  acc.other_block = scale == ue4m3 ? 0 : 16;
  return acc;
}

constexpr Accumulation chunks(std::string_view name) {
  Accumulation acc =
      fp4(name, ue4m3, 64,
          "arXiv:2609.02846 Sec. 6, App. B, on a GB200: 258 of 258 permutation probes, but 366 of "
          "512 exact FP32 results on packed random operands",
          "low: a hypothesis");
  acc.sum = Summation::chunks;
  return acc;
}

constexpr Accumulation defined(std::string_view name, Summation sum, std::string_view evidence) {
  return {.name = name,
          .sum = sum,
          .out = Conversion::rne_fp32,
          .evidence = evidence,
          .confidence = by_definition};
}

constexpr std::string_view k96 = "assumed: one step of 6 groups; no result and no published model";
constexpr std::string_view rtx = "MMA-Sim and MATLAB-tensor-core on RTX Blackwell: as B200";

constexpr Accumulation table[] = {
    dense("sm70_fp16", fp16_only, 4, 4, 23, silicon, very_high),
    dense("sm75_fp16", fp16_only, 8, 8, 24, literature, high),
    dense("sm80_bf16", bf16_only, 16, 8, 24, silicon, very_high),
    dense("sm80_fp16", fp16_only, 16, 8, 24, silicon, very_high),
    dense("sm80_tf32", tf32_only, 8, 4, 24, silicon, very_high),
    defined("sm80_fp64", Summation::fp64_fma,
            "a chain of IEEE binary64 FMAs; the bits of NaN are this library's"),
    dense("sm89_bf16", bf16_only, 16, 8, 24, silicon, very_high),
    dense("sm89_fp16", fp16_only, 16, 8, 24, silicon, very_high),
    dense("sm89_tf32", tf32_only, 8, 4, 24, silicon, very_high),
    narrow_fp8("sm89_fp8", 16, -132, silicon, very_high),
    dense("sm90_bf16", bf16_only, 16, 16, 25, h200, very_high),
    dense("sm90_fp16", fp16_only, 16, 16, 25, h200, very_high),
    dense("sm90_tf32", tf32_only, 8, 8, 25, h200, very_high),
    narrow_fp8("sm90_fp8", 32, -133, h200, very_high),
    emulated_fp8("sm90_fp8_mma"),
    dense("sm100_bf16", bf16_only, 16, 16, 25, silicon, very_high),
    dense("sm100_fp16", fp16_only, 16, 16, 25, silicon, very_high),
    dense("sm100_tf32", tf32_only, 8, 8, 25, silicon, very_high),
    f8f6f4("sm100_f8f6f4"),
    mxf8f6f4("sm100_mxf8f6f4"),
    fp4("sm100_nvfp4", ue4m3, 64, published_only, fp4_confidence),
    fp4("sm100_mxfp4", e8m0, 64, published_only, fp4_confidence),
    dense("sm120_bf16", bf16_only, 16, 16, 25, rtx, high),
    dense("sm120_fp16", fp16_only, 16, 16, 25, rtx, high),
    dense("sm120_tf32", tf32_only, 8, 8, 25, rtx, high),
    f8f6f4("sm120_f8f6f4"),
    mxf8f6f4("sm120_mxf8f6f4"),
    fp4("sm120_nvfp4", ue4m3, 64, published_only, fp4_confidence),
    fp4("sm120_mxfp4", e8m0, 64, published_only, fp4_confidence),
    fp4("sm121_nvfp4", ue4m3, 64, unmeasured, medium),
    fp4("sm103_nvfp4_k96", ue4m3, 96, k96, "low: assumed"),
    chunks("sm100_nvfp4_chunk64"),
    defined("exact", Summation::exact, "one rounding to nearest of the exact sum"),
    defined("fp32_in_order", Summation::fp32_in_order, "a chain of FP32 additions, k ascending"),
};

}  // namespace

std::span<const Accumulation> accumulations() { return table; }

const Accumulation* find_accumulation(std::string_view name) {
  const auto found = std::ranges::find(table, name, &Accumulation::name);
  return found == std::end(table) ? nullptr : found;
}

}  // namespace nvfp4
