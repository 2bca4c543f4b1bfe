#include "dialect_table.hpp"

#include <algorithm>
#include <optional>

#include <nvfp4/kernels.hpp>

#include "terminal.hpp"

namespace nvfp4::cli {
namespace {

struct Result {
  BlockScaledTensor tensor;
  Matrix values;
};

struct Pair {
  std::size_t a, b;
  std::optional<std::int64_t> bytes;  ///< empty where their arrays have other sizes
  std::int64_t values = 0;
  std::optional<std::int64_t> first;  ///< element whose value differs, or else whose code or scale does
  bool equal() const { return bytes == 0 && values == 0; }
};

std::vector<Result> all_results(MatrixView x) {
  std::vector<Result> results;
  for (const Dialect* dialect : all_dialects()) {
    BlockScaledTensor tensor = cpu_kernels().quantize(x, default_spec(*dialect), {});
    Matrix values = cpu_kernels().dequantize(tensor);
    results.push_back({std::move(tensor), std::move(values)});
  }
  return results;
}

template <class T>
std::int64_t differing(const std::vector<T>& a, const std::vector<T>& b, std::optional<std::int64_t>& first) {
  std::int64_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i] != b[i] && count++ == 0) first = static_cast<std::int64_t>(i);
  return count;
}

Pair compare(const std::vector<Result>& results, std::size_t a, std::size_t b) {
  const BlockScaledTensor &s = results[a].tensor, &t = results[b].tensor;
  Pair pair{a, b, std::nullopt, 0, std::nullopt};
  for (std::int64_t i = 0; i < s.rows * s.cols; ++i) {
    const float x = results[a].values.f32()[i], y = results[b].values.f32()[i];
    if (x != y && (x == x || y == y) && pair.values++ == 0) pair.first = i;
  }
  if (s.codes.size() != t.codes.size() || s.scales.size() != t.scales.size()) return pair;
  std::optional<std::int64_t> code, scale;
  pair.bytes = differing(s.codes, t.codes, code) + differing(s.scales, t.scales, scale);
  if (!pair.first && scale)
    pair.first = *scale / s.blocks_per_row() * s.cols + *scale % s.blocks_per_row() * s.spec.block.cols;
  if (!pair.first && code)
    pair.first = *code / s.row_bytes() * s.cols + std::min(*code % s.row_bytes() * 2, s.cols - 1);
  return pair;
}

std::string_view name_of(std::size_t dialect) { return all_dialects()[dialect]->name; }

Json to_json(const Pair& p, std::int64_t cols) {
  Json json{{"a", name_of(p.a)},
            {"b", name_of(p.b)},
            {"differing_bytes", nullptr},
            {"differing_values", p.values},
            {"example", nullptr}};
  if (p.bytes) json["differing_bytes"] = *p.bytes;
  if (p.first) json["example"] = {*p.first / cols, *p.first % cols};
  return json;
}

std::string line_of(const Pair& p, std::int64_t cols) {
  std::string text = left(name_of(p.a), 24) + left(name_of(p.b), 24) +
                     left(p.bytes ? std::to_string(*p.bytes) : "-", 12) + left(std::to_string(p.values), 12);
  if (p.first) text += "(" + std::to_string(*p.first / cols) + ", " + std::to_string(*p.first % cols) + ")";
  return text + '\n';
}

/// For each dialect the first one whose bytes and values it shares.
std::vector<std::size_t> representatives(const std::vector<Pair>& pairs) {
  std::vector<std::size_t> of(all_dialects().size());
  for (std::size_t i = 0; i < of.size(); ++i) of[i] = i;
  for (const Pair& p : pairs)
    if (p.equal() && of[p.b] == p.b) of[p.b] = of[p.a];
  return of;
}

std::string text_of(const std::vector<Pair>& pairs, std::int64_t cols) {
  const std::vector<std::size_t> of = representatives(pairs);
  std::string text;
  for (std::size_t i = 0; i < of.size(); ++i) {
    std::string others;
    for (std::size_t j = i + 1; j < of.size(); ++j)
      if (of[j] == i) others += " = " + std::string(name_of(j));
    if (!others.empty()) text += "alike: " + std::string(name_of(i)) + others + '\n';
  }
  text += left("a", 24) + left("b", 24) + left("bytes", 12) + left("values", 12) + "example\n";
  for (const Pair& p : pairs)
    if (of[p.a] == p.a && of[p.b] == p.b) text += line_of(p, cols);
  return text;
}

}  // namespace

Outcome dialect_table(MatrixView x) {
  const std::vector<Result> results = all_results(x);
  std::vector<Pair> pairs;
  for (std::size_t a = 0; a < results.size(); ++a)
    for (std::size_t b = a + 1; b < results.size(); ++b) pairs.push_back(compare(results, a, b));
  Outcome outcome;
  outcome.json = {{"rows", x.rows}, {"cols", x.cols}, {"pairs", Json::array()}};
  for (const Pair& p : pairs) outcome.json["pairs"].push_back(to_json(p, x.cols));
  outcome.text = text_of(pairs, x.cols);
  return outcome;
}

}  // namespace nvfp4::cli
