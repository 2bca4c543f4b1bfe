#include <nvfp4/boundaries.hpp>

#include "dialect_table.hpp"
#include "terminal.hpp"

namespace nvfp4::cli {
namespace {

std::string line_of(const Dialect& a, const Dialect& b, const Witness& w) {
  const std::string none = "none found in " + std::to_string(w.tries) + " tries";
  return left(a.name, 24) + left(b.name, 24) + (w.input ? w.input->name : none) + '\n';
}

Json to_json(const Dialect& a, const Dialect& b, const Witness& w) {
  Json json{{"a", a.name}, {"b", b.name}, {"witness", nullptr}, {"tries", w.tries}};
  if (w.input) json["witness"] = w.input->name;
  return json;
}

}  // namespace

Outcome witness_table(Dtype dtype, std::int64_t tries) {
  Outcome outcome;
  outcome.json = {{"input_dtype", name(dtype)}, {"pairs", Json::array()}};
  outcome.text = left("a", 24) + left("b", 24) + "part on\n";
  std::int64_t pairs = 0, without = 0;
  Progress progress("dialects");
  const auto all = all_dialects();
  for (std::size_t i = 0; i < all.size(); ++i) {
    progress.show(static_cast<std::int64_t>(i), static_cast<std::int64_t>(all.size()), all[i]->name);
    for (std::size_t j = i + 1; j < all.size(); ++j) {
      const Witness w = find_witness(default_spec(*all[i]), default_spec(*all[j]), dtype, tries, 0);
      outcome.json["pairs"].push_back(to_json(*all[i], *all[j], w));
      outcome.text += line_of(*all[i], *all[j], w);
      ++pairs;
      without += !w.input;
    }
  }
  outcome.json["without_witness"] = without;
  outcome.text += std::to_string(pairs) + " pairs, " + std::to_string(without) + " without a witness as " +
                  std::string(name(dtype)) + '\n';
  return outcome;
}

}  // namespace nvfp4::cli
