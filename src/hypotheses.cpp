#include "hypotheses.hpp"

#include <algorithm>

namespace nvfp4 {
namespace {

constexpr std::uint64_t e2m1_sign = 8, e2m1_one = 2;

std::size_t per_scale(const Probe& p) { return p.a.size() / p.a_scales.size(); }

void drop_products(Probe& p, std::size_t block) {
  for (std::size_t k = block * per_scale(p); k < (block + 1) * per_scale(p); ++k) p.a[k] = p.b[k] = 0;
}

void honour_scale_signs(Probe& p) {
  for (std::size_t k = 0; k < p.a.size(); ++k)
    if ((p.a_scales[k / per_scale(p)] ^ p.b_scales[k / per_scale(p)]) & 0x80) p.a[k] ^= e2m1_sign;
}

void flush_scale_subnormals(Probe& p) {
  for (auto* scales : {&p.a_scales, &p.b_scales})
    for (std::uint8_t& scale : *scales)
      if ((scale & 0x7F) < 8) scale = 0;
}

void flush_smallest_e8m0(Probe& p) {
  for (std::size_t i = 0; i < p.a_scales.size(); ++i)
    if (p.a_scales[i] == 0 || p.b_scales[i] == 0) drop_products(p, i);
}

void flush_c(Probe& p) {
  if ((p.c & 0x7F800000) == 0) p.c = 0;
}

/// A block with a zero scale raises the largest exponent as if the other block's scale stood in both.
void keep_exponent_of_other_scale(Probe& p) {
  for (std::size_t i = 0; i < p.a_scales.size(); ++i) {
    if ((p.a_scales[i] & 0x7F) && (p.b_scales[i] & 0x7F)) continue;
    const std::size_t k = i * per_scale(p);
    drop_products(p, i);
    p.a_scales[i] = p.b_scales[i] = std::max(p.a_scales[i], p.b_scales[i]);
    p.a[k] = p.b[k] = p.b[k + 1] = e2m1_one, p.a[k + 1] = e2m1_one | e2m1_sign;
  }
}

void ignore_nan_scale_of_zeros(Probe& p) {
  for (std::size_t i = 0; i < p.a_scales.size(); ++i) {
    const auto zero = [&](std::size_t k) { return (p.a[k] & 7) == 0 || (p.b[k] & 7) == 0; };
    bool all_zero = true;
    for (std::size_t k = i * per_scale(p); k < (i + 1) * per_scale(p); ++k) all_zero = all_zero && zero(k);
    if (all_zero) p.a_scales[i] = p.b_scales[i] = 0x38;
  }
}

/// Groups of 16 in this order instead; a group beyond the last is 16 zeros.
void reorder(Probe& p, const std::vector<std::size_t>& order) {
  Probe q = p;
  q.a.assign(order.size() * 16, 0), q.b = q.a;
  q.a_scales.assign(order.size(), 0), q.b_scales = q.a_scales;
  for (std::size_t g = 0; g < order.size(); ++g) {
    if (order[g] >= p.a_scales.size()) continue;
    q.a_scales[g] = p.a_scales[order[g]], q.b_scales[g] = p.b_scales[order[g]];
    for (std::size_t k = 0; k < 16; ++k)
      q.a[g * 16 + k] = p.a[order[g] * 16 + k], q.b[g * 16 + k] = p.b[order[g] * 16 + k];
  }
  p = q;
}

Accumulation changed(const char* model, void (*change)(Accumulation&)) {
  Accumulation acc = *find_accumulation(model);
  change(acc);
  return acc;
}

/// Those that any of the FP4 instructions may turn out to follow.
std::vector<Hypothesis> rivals(const char* model) {
  const auto rival = [&](std::string_view name, std::string_view says, void (*change)(Accumulation&)) {
    return Hypothesis{name, says, changed(model, change)};
  };
  return {
      {"model", "exact groups of 16, aligned by their scales' exponents, 35 bits kept, result truncated",
       *find_accumulation(model)},
      rival("F25", "25 bits kept below the largest exponent", [](Accumulation& a) { a.fraction_bits = 25; }),
      rival("F34", "34 bits kept", [](Accumulation& a) { a.fraction_bits = 34; }),
      rival("F36", "36 bits kept", [](Accumulation& a) { a.fraction_bits = 36; }),
      rival("F37", "37 bits kept", [](Accumulation& a) { a.fraction_bits = 37; }),
      rival("zero_group_counts", "a group of zeros raises the largest exponent",
            [](Accumulation& a) { a.zero_rule = ZeroRule::never; }),
      rival("zero_sum_drops", "a group whose products cancel does not raise the largest exponent",
            [](Accumulation& a) { a.zero_rule = ZeroRule::zero_sum; }),
      rival("align_floor", "terms are cut towards -Inf",
            [](Accumulation& a) { a.align_rounding = AlignRounding::floor; }),
      rival("align_nearest", "terms are rounded to nearest even",
            [](Accumulation& a) { a.align_rounding = AlignRounding::nearest_even; }),
      rival("out_nearest", "the result is rounded to nearest even",
            [](Accumulation& a) { a.out = Conversion::rne_fp32; }),
      rival("c_after", "C is added to the instruction's result, to nearest even",
            [](Accumulation& a) { a.c_in_sum = false; }),
      rival("product_align_F35", "each product is aligned by itself, 35 bits kept",
            [](Accumulation& a) { a.align = Align::product, a.group = 1; }),
      rival("product_align_F25", "each product is aligned by itself, 25 bits kept",
            [](Accumulation& a) { a.align = Align::product, a.group = 1, a.fraction_bits = 25; }),
      rival("groups_of_8", "groups of 8 are cut apart", [](Accumulation& a) { a.group = 8; }),
      rival("groups_of_4", "groups of 4 are cut apart", [](Accumulation& a) { a.group = 4; }),
      rival("steps_of_32", "a result after each 32 products", [](Accumulation& a) { a.step = 32; }),
      rival("steps_of_16", "a result after each 16 products", [](Accumulation& a) { a.step = 16; }),
      rival("exact", "one rounding to nearest even of the exact sum",
            [](Accumulation& a) { a = *find_accumulation("exact"); }),
      rival("fp32_in_order", "a chain of FP32 additions",
            [](Accumulation& a) { a = *find_accumulation("fp32_in_order"); }),
      rival("minus_zero", "a sum of nothing but -0 is -0", [](Accumulation& a) { a.minus_zero = true; }),
      {"flush_c", "a subnormal C is zero", *find_accumulation(model), flush_c},
  };
}

std::vector<Hypothesis> with_ue4m3(std::vector<Hypothesis> all, const char* model) {
  const Accumulation& acc = *find_accumulation(model);
  all.push_back({"scale_sign", "bit 7 of a scale is its sign", acc, honour_scale_signs});
  all.push_back({"flush_scales", "a subnormal scale is zero", acc, flush_scale_subnormals});
  all.push_back({"zero_scale_counts", "under a zero scale the other one raises the largest exponent", acc,
                 keep_exponent_of_other_scale});
  all.push_back(
      {"nan_scale_ignored", "a NaN scale over zeros alone is ignored", acc, ignore_nan_scale_of_zeros});
  return all;
}

}  // namespace

std::vector<Hypothesis> nvfp4_hypotheses() {
  constexpr const char* model = "sm100_nvfp4";
  std::vector<Hypothesis> all = with_ue4m3(rivals(model), model);
  all.push_back({"steps_of_32_apart", "a result after groups 0 and 2, then 1 and 3",
                 changed(model, [](Accumulation& a) { a.step = 32; }), [](Probe& p) {
                   reorder(p, {0, 2, 1, 3});
                 }});
  all.push_back({"chunk64", "the products' sum to FP32, to nearest, then added to C, truncated",
                 *find_accumulation("sm100_nvfp4_chunk64")});
  return all;
}

std::vector<Hypothesis> chain_hypotheses() {
  constexpr const char* name = "sm100_nvfp4";
  const Accumulation& model = *find_accumulation(name);
  return {{"model", "64 products a step, in order", model},
          {"last_64_first", "64 products a step, in descending order", model,
           [](Probe& p) {
             reorder(p, {4, 5, 6, 7, 0, 1, 2, 3});
           }},
          {"groups_apart", "the even groups of 16 first, then the odd ones", model,
           [](Probe& p) {
             reorder(p, {0, 2, 4, 6, 1, 3, 5, 7});
           }},
          {"one_step_of_128", "one step", changed(name, [](Accumulation& a) { a.k = a.step = 128; })},
          {"steps_of_32", "32 products a step", changed(name, [](Accumulation& a) { a.step = 32; })},
          {"c_after", "each instruction's result is added to the accumulator, to nearest even",
           changed(name, [](Accumulation& a) { a.c_in_sum = false; })},
          {"exact", "one rounding to nearest even", *find_accumulation("exact")}};
}

std::vector<Hypothesis> k96_hypotheses() {
  constexpr const char* model = "sm103_nvfp4_k96";
  const Accumulation& of_64 = *find_accumulation("sm100_nvfp4");
  std::vector<Hypothesis> all = with_ue4m3(rivals(model), model);
  all.push_back({"steps_64_32", "a result after 64 products", of_64});
  all.push_back({"steps_32_64", "a result after 32 products", of_64, [](Probe& p) {
                   reorder(p, {0, 1, 6, 6, 2, 3, 4, 5});
                 }});
  all.push_back(
      {"steps_of_48", "a result after 48 products", changed(model, [](Accumulation& a) { a.step = 48; })});
  return all;
}

std::vector<Hypothesis> mxfp4_hypotheses() {
  constexpr const char* name = "sm100_mxfp4";
  const Accumulation& model = *find_accumulation(name);
  std::vector<Hypothesis> all = rivals(name);
  all.push_back({"groups_of_32", "groups of 32, those of a scale, are cut as one",
                 changed(name, [](Accumulation& a) { a.group = 32; })});
  all.push_back({"flush_scales", "the scale 2^-127 is zero", model, flush_smallest_e8m0});
  all.push_back(
      {"nan_scale_ignored", "a NaN scale over zeros alone is ignored", model, ignore_nan_scale_of_zeros});
  return all;
}

}  // namespace nvfp4
