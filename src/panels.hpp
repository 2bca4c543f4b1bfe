#pragma once
#include <cstdint>
#include <vector>

#include "isa/tile.hpp"

namespace nvfp4::cpu {

/// Rows of `k` numbers, isa::panel of them side by side: panels in a row, the last filled up with zeros.
template <class To, class From>
std::vector<To> panels(const std::vector<From>& rows, std::int64_t k) {
  const std::int64_t count = k ? static_cast<std::int64_t>(rows.size()) / k : 0;
  const std::int64_t whole = (count + isa::panel - 1) / isa::panel * isa::panel;
  std::vector<To> out(static_cast<std::size_t>(whole * k));
  for (std::int64_t j = 0; j < count; ++j) {
    const From* row = rows.data() + j * k;
    To* column = out.data() + j / isa::panel * isa::panel * k + j % isa::panel;
    for (std::int64_t l = 0; l < k; ++l) column[l * isa::panel] = row[l];
  }
  return out;
}

/// Rows [row, row + rows) of a against the `columns` rows of b from `column` on, where a panel begins.
struct Tile {
  std::int64_t row, rows, column, columns;
};

}  // namespace nvfp4::cpu
