#include "matrix_rows.hpp"

#include <algorithm>

#include <nvfp4/kernels.hpp>

namespace nvfp4::cpu {

using isa::panel_rows, isa::panel_step_bytes, isa::step_k, isa::tile_bytes;

MatrixRows::MatrixRows(const isa::MatrixTiles& tiles, const BlockScaledTensor& t, Side side)
    : rows(t.rows),
      panels((t.rows + panel_rows - 1) / panel_rows),
      steps((t.cols + step_k - 1) / step_k),
      fraction_bits(1 + info(t.spec.dialect->scale).mantissa_bits),
      extent(static_cast<std::size_t>(panels)),
      spread(static_cast<std::size_t>(panels)),
      has_nan(static_cast<std::size_t>(t.rows)),
      tiles_(tiles),
      tensor_(t),
      side_(side),
      scales_(t.spec.dialect->scale),
      norms_(static_cast<std::size_t>(panels * steps)),
      units_(static_cast<std::size_t>(panels * steps * panel_rows)) {
#pragma omp parallel for schedule(static) num_threads(threads())
  for (std::int64_t panel = 0; panel < panels; ++panel) learn(panel);
}

void MatrixRows::pack_values() { pack(tiles_.pack_values); }

void MatrixRows::pack_digits() { pack(tiles_.pack_digits); }

/// Part by part, so that the lines that a panel's rows share stay in cache: use(row of the panel, its task).
template <class Use>
void MatrixRows::each_part(std::int64_t panel, Use use) {
  for (std::int64_t step = 0; step < steps; step += part_steps) {
    const auto count = static_cast<int>(std::min(part_steps, steps - step));
    const std::int64_t first = panel * steps + step;
    std::byte* lines = lines_.empty() ? nullptr : lines_.data() + first * panel_step_bytes;
    for (std::int64_t r = 0; r < panel_rows; ++r) {
      const RowWindow window(tensor_, panel * panel_rows + r, step);
      use(r, isa::PanelTask{window.codes, window.scales, scales_.fields.data(), scales_.values.data(), count,
                            fraction_bits, norms_.data() + first, units_.data() + first * panel_rows + r,
                            lines ? lines + r * 64 : nullptr});
    }
    if (lines && side_ == Side::right)
      for (int n = 0; n < count * panel_step_bytes; n += tile_bytes) tiles_.transpose(lines + n);
  }
}

void MatrixRows::learn(std::int64_t panel) {
  const auto n = static_cast<std::size_t>(panel);
  double squares[panel_rows] = {};
  each_part(panel, [&](std::int64_t row, const isa::PanelTask& task) {
    const isa::PackFacts facts = tiles_.facts(task);
    extent[n].extend(RowExtent(facts));
    spread[n] = std::max(spread[n], facts.spread);
    squares[row] += facts.square;
    if (facts.has_nan) has_nan[static_cast<std::size_t>(panel * panel_rows + row)] = 1;
  });
  extent[n].add_square(*std::ranges::max_element(squares));
}

void MatrixRows::pack(Pack pack_row) {
  lines_.resize(static_cast<std::size_t>(panels * steps * panel_step_bytes));
#pragma omp parallel for schedule(static) num_threads(threads())
  for (std::int64_t panel = 0; panel < panels; ++panel)
    each_part(panel, [&](std::int64_t, const isa::PanelTask& task) { pack_row(task); });
}

}  // namespace nvfp4::cpu
