#include <nvfp4/producers.hpp>
#include <nvfp4/recipe.hpp>
#include <nvfp4/scheme.hpp>
#include <nvfp4/te_random.hpp>

#include "arguments.hpp"

namespace nvfp4::python {
namespace {

nb::dict record(const Dialect& d) {
  nb::dict r;
  r["name"] = d.name;
  r["version"] = d.version;
  r["source"] = d.source;
  r["evidence"] = d.evidence;
  r["global_is"] = name(d.global_is);
  r["global_divisor"] = d.global_divisor ? nb::cast(d.global_divisor) : nb::none();
  r["element"] = info(d.element).name;
  r["scale_format"] = d.scale == Format::e8m0 ? "e8m0" : "e4m3";
  r["block_cols"] = d.block_cols;
  r["global_block_cols"] = d.outer_cols ? nb::cast(d.outer_cols) : nb::none();
  r["per_row"] = d.per_row;
  r["four_over_six"] = d.four_over_six;
  r["stochastic"] = d.stochastic;
  r["nan_codes_vary"] = d.nan_codes_vary;
  return r;
}

nb::dict record(const Accumulation& a) {
  nb::dict r;
  nb::list elements;
  for (const Format f : a.elements) elements.append(info(f).name);
  r["name"] = a.name;
  r["elements"] = takes_all(a) ? nb::none() : nb::object(elements);
  r["k"] = a.k;
  r["scale"] = a.scale ? nb::cast(info(*a.scale).name) : nb::none();
  r["evidence"] = a.evidence;
  r["confidence"] = a.confidence;
  return r;
}

nb::dict record(const Option& o) {
  nb::dict r;
  nb::list values;
  for (const std::string_view value : o.values) values.append(value);
  r["name"] = o.name;
  r["default"] = o.standard;
  r["values"] = values;
  r["integers"] = o.low <= o.high ? nb::object(nb::make_tuple(o.low, o.high)) : nb::none();
  return r;
}

nb::dict record(const Scheme& s) {
  nb::dict r;
  nb::list options, keeps;
  for (const Option& o : s.options) options.append(record(o));
  for (const std::string_view kept : s.keeps) keeps.append(kept);
  r["name"] = s.name;
  r["options"] = options;
  r["keeps"] = keeps;
  return r;
}

nb::dict record(const TeRandomMap& m) {
  nb::dict r;
  r["name"] = m.name;
  r["kernel"] = m.kernel;
  r["evidence"] = m.evidence;
  r["columnwise"] = m.columnwise;
  r["multiple"] = nb::make_tuple(m.height_multiple, m.width_multiple);
  return r;
}

nb::list te_random_records() {
  nb::list all;
  for (const TeRandomMap& m : te_random_maps()) all.append(record(m));
  return all;
}

const TeRandomMap& te_kernel_named(std::string_view text) {
  if (const TeRandomMap* found = find_te_random_map(text)) return *found;
  std::string names;
  for (const TeRandomMap& m : te_random_maps()) names += (names.empty() ? "" : ", ") + std::string(m.name);
  throw std::invalid_argument("kernel '" + std::string(text) + "': expected one of " + names);
}

nb::object te_words(std::string_view kernel, std::int64_t rows, std::int64_t cols, std::uint64_t seed,
                    std::uint64_t offset, int rounds) {
  std::vector<std::uint32_t> words =
      released(0, [&] { return te_random_words(te_kernel_named(kernel), rows, cols, seed, offset, rounds); });
  return nb::cast(array_of<std::uint32_t>(
      std::move(words), {static_cast<std::size_t>(rows), static_cast<std::size_t>(cols / 16 * 4)}));
}

nb::list dialect_records() {
  nb::list all;
  for (const Dialect* d : all_dialects()) all.append(record(*d));
  return all;
}

nb::list accumulation_records() {
  nb::list all;
  for (const Accumulation& a : accumulations()) all.append(record(a));
  return all;
}

nb::list scheme_records() {
  nb::list all;
  for (const Scheme* s : schemes()) all.append(record(*s));
  return all;
}

nb::list producer_names() {
  nb::list all;
  for (const Producer& p : producers()) all.append(p.name);
  return all;
}

nb::list recipe_names() {
  nb::list all;
  for (const Recipe& r : recipes()) all.append(r.name);
  return all;
}

}  // namespace

void bind_tables(nb::module_& m) {
  m.def("dialects", &dialect_records);
  m.def("accumulations", &accumulation_records);
  m.def("schemes", &scheme_records);
  m.def("producer_names", &producer_names);
  m.def("recipe_names", &recipe_names);
  m.def("te_random_maps", &te_random_records);
  m.def("te_random_words", &te_words, nb::arg("kernel"), nb::arg("rows"), nb::arg("cols"), nb::arg("seed"),
        nb::arg("offset"), nb::arg("rounds"));
}

}  // namespace nvfp4::python
