#include "schemes.hpp"

#include <algorithm>
#include <charconv>
#include <stdexcept>

namespace nvfp4 {
namespace {

/// Digits alone, so that a value has one spelling.
bool is_integer_of(const Option& o, std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && std::to_string(value) == text && o.low <= value && value <= o.high;
}

std::string expected(const Option& o) {
  std::string names;
  for (const std::string_view v : o.values) names += (names.empty() ? "" : ", ") + std::string(v);
  if (o.low > o.high) return names;
  return names + (names.empty() ? "" : ", ") + std::to_string(o.low) + " to " + std::to_string(o.high);
}

void validate(const SchemeRecipe& r, const Option& o) {
  const std::string name = r.name + "'s option " + std::string(o.name);
  const auto found = r.options.find(o.name);
  if (found == r.options.end()) throw std::invalid_argument(name + " is missing");
  if (std::ranges::count(o.values, found->second) == 0 && !is_integer_of(o, found->second))
    throw std::invalid_argument(name + ": expected one of " + expected(o) + ", found '" + found->second +
                                "'");
}

}  // namespace

std::span<const Scheme* const> schemes() {
#define NVFP4_ADDRESS(name) &scheme::name,
  static constexpr const Scheme* table[] = {NVFP4_SCHEMES(NVFP4_ADDRESS)};
#undef NVFP4_ADDRESS
  return table;
}

const Scheme* find_scheme(std::string_view name) {
  for (const Scheme* s : schemes())
    if (s->name == name) return s;
  return nullptr;
}

void validate(const SchemeRecipe& r) {
  const Scheme* scheme = find_scheme(r.name);
  if (!scheme) throw std::invalid_argument("no scheme '" + r.name + "'");
  for (const auto& item : r.options)
    if (std::ranges::find(scheme->options, item.first, &Option::name) == scheme->options.end())
      throw std::invalid_argument(r.name + " has no option '" + item.first + "'");
  for (const Option& o : scheme->options) validate(r, o);
}

void require_nvfp4(const GemmRecipe& g, std::string_view scheme) {
  for (const OperandRecipe* o : {&g.a, &g.b}) {
    const Dialect* d = find_dialect(o->dialect);
    if (!d || d->element != Format::e2m1 || d->scale != Format::ue4m3 || o->tensor_scale == TensorScale::row)
      throw std::invalid_argument(std::string(scheme) +
                                  " takes E2M1 under E4M3 scales, and one scale a tensor");
  }
}

std::span<const std::int64_t> indices(const Product& p, std::string_view name, std::int64_t low,
                                      std::int64_t high) {
  const std::vector<std::int64_t>& kept = p.state.find(name)->second;
  std::vector<std::int64_t> sorted = kept;
  std::ranges::sort(sorted);
  const auto twice = std::ranges::adjacent_find(sorted);
  const std::string of = std::string(nvfp4::name(p.gemm)) + "'s state '" + std::string(name) + "'";
  if (twice != sorted.end())
    throw std::invalid_argument(of + ": " + std::to_string(*twice) + " stands twice");
  for (const std::int64_t i : kept)
    if (i < low || i > high)
      throw std::invalid_argument(of + ": expected " + std::to_string(low) + " to " + std::to_string(high) +
                                  ", found " + std::to_string(i));
  return kept;
}

SchemeRecipe scheme_recipe(std::string_view name, Options options) {
  SchemeRecipe r{std::string(name), std::move(options)};
  if (const Scheme* scheme = find_scheme(name))
    for (const Option& o : scheme->options) r.options.emplace(o.name, o.standard);
  validate(r);
  return r;
}

}  // namespace nvfp4
