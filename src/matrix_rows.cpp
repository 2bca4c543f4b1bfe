#include "matrix_rows.hpp"

#include <algorithm>

#include <nvfp4/kernels.hpp>

namespace nvfp4::cpu {

using isa::half_bytes, isa::panel_rows, isa::panel_step_bytes, isa::step_groups, isa::step_k, isa::tile_bytes;

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
      lines_(static_cast<std::size_t>(panels * steps * panel_step_bytes)),
      norms_(static_cast<std::size_t>(panels * steps)) {
  pack(&MatrixRows::pack_values_of);
}

void MatrixRows::pack_digits() {
  units_.resize(static_cast<std::size_t>(panels * steps * panel_rows));
  pack(&MatrixRows::pack_digits_of);
}

void MatrixRows::pack(Pack pack_row) {
#pragma omp parallel for schedule(static) num_threads(threads())
  for (std::int64_t panel = 0; panel < panels; ++panel) pack_panel(pack_row, panel);
}

/// Part by part, so that the lines that a panel's rows share stay in cache.
void MatrixRows::pack_panel(Pack pack_row, std::int64_t panel) {
  double squares[panel_rows] = {};
  for (std::int64_t step = 0; step < steps; step += part_steps) {
    const auto count = static_cast<int>(std::min(part_steps, steps - step));
    std::byte* lines = lines_.data() + (panel * steps + step) * panel_step_bytes;
    for (std::int64_t r = 0; r < panel_rows; ++r) {
      const RowWindow window(tensor_, panel * panel_rows + r, step);
      (this->*pack_row)({window.codes, window.scales, scales_.fields.data(), scales_.values.data(), count,
                         fraction_bits, lines + r * 64, norms_.data() + panel * steps + step,
                         units_.empty() ? nullptr : units_.data() + (panel * steps + step) * panel_rows + r},
                        panel * panel_rows + r, squares[r]);
    }
    if (side_ == Side::right)
      for (int n = 0; n < count * panel_step_bytes; n += tile_bytes) tiles_.transpose(lines + n);
  }
  extent[static_cast<std::size_t>(panel)].add_square(*std::ranges::max_element(squares));
}

void MatrixRows::pack_values_of(const isa::PanelTask& task, std::int64_t row, double& square) {
  const isa::PackFacts facts = tiles_.pack_values(task);
  const auto panel = static_cast<std::size_t>(row / panel_rows);
  extent[panel].extend(RowExtent(facts));
  spread[panel] = std::max(spread[panel], facts.spread);
  square += facts.square;
  if (facts.has_nan) has_nan[static_cast<std::size_t>(row)] = 1;
}

void MatrixRows::pack_digits_of(const isa::PanelTask& task, std::int64_t, double&) {
  tiles_.pack_digits(task);
}

}  // namespace nvfp4::cpu
