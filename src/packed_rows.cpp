#include "packed_rows.hpp"

#include <algorithm>

#include <nvfp4/kernels.hpp>

namespace nvfp4::cpu {

using isa::group_size, isa::step_groups, isa::step_k, isa::StepCodes, isa::ScaleFields;

PackedRows::PackedRows(const BlockScaledTensor& t, const PackedAs& how)
    : as(how),
      rows(t.rows),
      tiles((t.rows + how.rows - 1) / how.rows),
      steps((t.cols + step_k - 1) / step_k),
      parts((steps + part_steps - 1) / part_steps),
      fraction_bits(1 + info(t.spec.dialect->scale).mantissa_bits),
      part(static_cast<std::size_t>(tiles * parts)),
      whole(static_cast<std::size_t>(tiles)),
      has_nan(static_cast<std::size_t>(t.rows)),
      values_(static_cast<std::size_t>(tiles * how.rows * steps * step_k)),
      offsets_(how.value_offset ? 0 : values_.size() / group_size * static_cast<std::size_t>(how.tiles.run)),
      weights_(values_.size() / group_size),
      units_(values_.size() / step_k) {
  const ScaleCodes scales(t.spec.dialect->scale);
  each_tile([&](std::int64_t tile) { pack(t, tile, scales); });
}

void PackedRows::add_model(const BlockScaledTensor& t) {
  significands_.resize(weights_.size());
  exponents_.resize(weights_.size());
  nonzero_.resize(weights_.size());
  const ScaleCodes scales(t.spec.dialect->scale);
  each_tile([&](std::int64_t tile) {
    for (std::int64_t p = 0; p < parts; ++p)
      for (std::int64_t row = tile * as.rows; row < (tile + 1) * as.rows; ++row)
        add_model(RowWindow(t, row, p * part_steps), row, p, scales);
  });
}

template <class Use>
void PackedRows::each_tile(Use use) const {
#pragma omp parallel for schedule(static) num_threads(threads())
  for (std::int64_t tile = 0; tile < tiles; ++tile) use(tile);
}

int PackedRows::steps_of(std::int64_t part) const {
  return static_cast<int>(std::min(part_steps, steps - part * part_steps));
}

std::size_t PackedRows::place(std::int64_t row, std::int64_t step) const {
  return static_cast<std::size_t>((row / as.rows * steps + step) * as.rows * step_groups + row % as.rows * 2);
}

void PackedRows::Part::extend(const Part& x) {
  spread = std::max(spread, x.spread);
  norm = std::max(norm, x.norm);
}

PackedRows::Part PackedRows::worst_part() const {
  Part worst;
  for (const Part& x : part) worst.extend(x);
  return worst;
}

RowExtent PackedRows::worst_whole() const {
  RowExtent worst;
  for (const RowExtent& x : whole) worst.extend(x);
  return worst;
}

/// Part by part, so that the lines that a tile's rows share stay in cache.
void PackedRows::pack(const BlockScaledTensor& t, std::int64_t tile, const ScaleCodes& scales) {
  RowExtent& all = whole[static_cast<std::size_t>(tile)];
  std::vector<double> norms(static_cast<std::size_t>(as.rows));
  for (std::int64_t p = 0; p < parts; ++p)
    for (std::int64_t r = 0; r < as.rows; ++r) {
      const std::int64_t row = tile * as.rows + r;
      const isa::PackFacts facts = pack(RowWindow(t, row, p * part_steps), row, p, scales);
      part[static_cast<std::size_t>(tile * parts + p)].extend({facts.spread, facts.norm});
      all.extend(RowExtent(facts));
      norms[static_cast<std::size_t>(r)] += facts.square;
      if (facts.has_nan) has_nan[static_cast<std::size_t>(row)] = 1;
    }
  all.add_square(std::ranges::max(norms));
}

isa::PackFacts PackedRows::pack(const RowWindow& window, std::int64_t row, std::int64_t part,
                                const ScaleCodes& scales) {
  const std::int64_t tile = row / as.rows, r = row % as.rows, run = as.tiles.run, step = part * part_steps,
                     before = (tile * steps + step) * as.rows;
  const std::int64_t lane = as.by_lane ? as.tiles.lane[static_cast<std::size_t>(r)] : r;
  return as.tiles.pack(
      {window.codes, window.scales, scales.fields.data(), steps_of(part), as.rows, as.value_offset,
       fraction_bits, values_.data() + before * step_k + lane * 2 * run, weights_.data() + place(row, step),
       offsets_.empty() ? nullptr : offsets_.data() + place(row, step) * static_cast<std::size_t>(run),
       units_.data() + before + r});
}

void PackedRows::add_model(const RowWindow& window, std::int64_t row, std::int64_t part,
                           const ScaleCodes& scales) {
  for (int s = 0; s < steps_of(part); ++s) {
    StepCodes codes;
    as.tiles.unpack(window.codes + s * step_k / 2, as.value_offset, codes);
    for (int g = 0; g < step_groups; ++g) {
      const ScaleFields& scale = scales.fields[window.scales[s * step_groups + g]];
      const bool counts = codes.nonzero[g] != 0 && scale.significand != 0;
      const std::size_t at =
          place(row, part * part_steps + s) + static_cast<std::size_t>(g / 2 * 2 * as.rows + g % 2);
      significands_[at] = counts ? scale.significand : std::int16_t{0};
      exponents_[at] =
          static_cast<std::int16_t>((counts ? scale.exponent : 0) - fraction_bits + as.exponent_offset);
      nonzero_[at] = counts ? codes.nonzero[g] : std::uint16_t{0};
    }
  }
}

isa::BlockOperand PackedRows::at(std::int64_t tile, std::int64_t step) const {
  const auto rows_before = static_cast<std::size_t>((tile * steps + step) * as.rows);
  const std::size_t groups = rows_before * step_groups;
  if (nonzero_.empty())
    return {values_.data() + rows_before * step_k,
            weights_.data() + groups,
            units_.data() + rows_before,
            nullptr,
            nullptr,
            nullptr};
  return {values_.data() + rows_before * step_k, weights_.data() + groups,   units_.data() + rows_before,
          significands_.data() + groups,         exponents_.data() + groups, nonzero_.data() + groups};
}

const std::byte* PackedRows::offsets_at(std::int64_t tile, std::int64_t step) const {
  return offsets_.data() + (tile * steps + step) * as.rows * step_groups * as.tiles.run;
}

}  // namespace nvfp4::cpu
