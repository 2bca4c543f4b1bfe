#include "recipe_table.hpp"

#include <nvfp4/io/recipe.hpp>
#include <nvfp4/quantize.hpp>
#include <nvfp4/recipe.hpp>

namespace nvfp4::cli {
namespace {

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if ('a' <= c && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

std::string scales_of(const OperandRecipe& o) {
  if (o.tensor_scale != TensorScale::row) return "";
  const int columns = find_dialect(o.dialect)->outer_cols;
  return columns ? ", a scale for " + std::to_string(columns) + " columns" : ", a scale a row";
}

std::string text_of(const OperandRecipe& o, Dtype dense) {
  if (o.dialect.empty()) return upper(name(dense));
  std::string text = o.dialect + " " + block_name(o.block) + (o.stochastic ? " SR" : " RNE") + scales_of(o);
  if (o.rht) text += ", RHT " + std::to_string(o.rht) + " signs " + std::string(name(o.signs));
  if (o.source == Source::forward) text += ", of fprop's codes";
  const FourOverSix& f = o.four_over_six;
  if (f != FourOverSix{})
    text += ", 4/6 " + std::string(name(f.select)) + " " + std::to_string(f.e4m3_max) +
            (f.error_fast ? " fast" : "");
  return text;
}

std::string text_of(const SchemeRecipe& s) {
  std::string text = s.name;
  for (const auto& [key, value] : s.options) text += " " + key + "=" + value;
  return text;
}

std::string line(const Recipe& r, Gemm gemm) {
  constexpr const char* operands[][2] = {{"X", "W"}, {"dY", "Wᵀ"}, {"dYᵀ", "Xᵀ"}};
  const auto& [a, b] = operands[static_cast<int>(gemm)];
  const GemmRecipe& g = r[gemm];
  return "| " + r.name + " | " + std::string(name(gemm)) + " | " + a + ": " + text_of(g.a, r.operands) +
         " | " + b + ": " + text_of(g.b, r.operands) + " | " + text_of(g.scheme) + " | " + g.accumulate +
         " |\n";
}

}  // namespace

Outcome recipe_table() {
  Outcome outcome;
  outcome.json["recipes"] = Json::array();
  outcome.text = "| recipe | GEMM | A | B | scheme | summed by |\n|---|---|---|---|---|---|\n";
  for (const Recipe& r : recipes()) {
    outcome.json["recipes"].push_back(Json::parse(io::to_json(r)));
    for (const Gemm gemm : all_gemms) outcome.text += line(r, gemm);
  }
  return outcome;
}

}  // namespace nvfp4::cli
