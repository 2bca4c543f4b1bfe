#pragma once
#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include <nvfp4/dialects/paper.hpp>
#include <nvfp4/dialects/te.hpp>
#include <nvfp4/dialects/te_ref.hpp>

namespace nvfp4 {

template <class... D>
struct DialectList {
  static constexpr std::array infos{&D::info...};

  /// A table with one entry a dialect, in the order of the list: {make(D{})...}.
  template <class Make>
  static constexpr auto table(Make make) {
    return std::array{make(D{})...};
  }
};

/// Every dialect there is. Adding one is a file in this folder and a name in this line.
using Dialects = DialectList<dialects::te, dialects::te_ref, dialects::paper>;

inline std::span<const Dialect* const> all_dialects() { return Dialects::infos; }

/// Null if there is none of that name.
inline const Dialect* find_dialect(std::string_view name) {
  for (const Dialect* d : Dialects::infos)
    if (d->name == name) return d;
  return nullptr;
}

/// The place of a dialect in all_dialects() and in the tables of every layer.
inline std::size_t index_of(const Dialect& dialect) {
  std::size_t i = 0;
  while (Dialects::infos[i]->name != dialect.name) ++i;
  return i;
}

}  // namespace nvfp4
