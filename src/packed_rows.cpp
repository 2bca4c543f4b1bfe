#include "packed_rows.hpp"

#include <algorithm>
#include <cmath>

#include <nvfp4/kernels.hpp>

namespace nvfp4::cpu {
namespace {

using isa::group_size, isa::step_groups, isa::step_k, isa::CodePair, isa::ScaleFields;

/// A row, padded with zeros to whole steps.
struct Row {
  std::vector<std::uint8_t> codes, scales;  ///< two elements a byte, a group a byte

  Row(const BlockScaledTensor& t, std::int64_t row, std::int64_t steps)
      : codes(static_cast<std::size_t>(steps * step_k / 2)),
        scales(static_cast<std::size_t>(steps * step_groups)) {
    std::copy_n(t.codes.begin() + row * t.row_bytes(), (t.cols + 1) / 2, codes.begin());
    if (t.cols % 2) codes[static_cast<std::size_t>(t.cols / 2)] &= 15;
    const std::uint8_t* blocks = t.scales.data() + row * t.blocks_per_row();
    const std::int64_t groups = (t.cols + group_size - 1) / group_size,
                       shared = t.spec.block.cols / group_size;
    for (std::int64_t g = 0; g < groups; ++g)
      scales[static_cast<std::size_t>(g)] = blocks[shared == 1 ? g : g / shared];
  }
};

}  // namespace

/// Of each byte.
struct PackedRows::Scales {
  std::array<ScaleFields, 256> fields{};
  std::array<bool, 256> is_nan{};

  explicit Scales(Format format) {
    for (unsigned code = 0; code < fields.size(); ++code) {
      const Unpacked s = unpack_code(code, info(format));
      is_nan[code] = (s.kind & ProductRows::is_nan) != 0;
      fields[code] = {static_cast<std::int16_t>(is_nan[code] ? 0 : s.significand),
                      static_cast<std::int16_t>(s.exponent)};
    }
  }
};

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
      values_(static_cast<std::size_t>(tiles * how.rows * steps * step_k),
              static_cast<std::uint8_t>(how.value_offset)),
      offsets_(how.value_offset ? 0 : values_.size() / group_size * static_cast<std::size_t>(how.tiles.run)),
      weights_(values_.size() / group_size),
      units_(values_.size() / step_k) {
  const Scales scales(t.spec.dialect->scale);
  each_row([&](std::int64_t row) { pack(t, row, scales); });
}

void PackedRows::add_model(const BlockScaledTensor& t) {
  significands_.resize(weights_.size());
  exponents_.resize(weights_.size());
  nonzero_.resize(weights_.size());
  const Scales scales(t.spec.dialect->scale);
  each_row([&](std::int64_t row) { add_model(t, row, scales); });
}

/// Threads take whole tiles.
template <class Use>
void PackedRows::each_row(Use use) const {
#pragma omp parallel for schedule(static) num_threads(threads())
  for (std::int64_t tile = 0; tile < tiles; ++tile)
    for (std::int64_t row = tile * as.rows; row < std::min(rows, (tile + 1) * as.rows); ++row) use(row);
}

std::size_t PackedRows::place(std::int64_t row, std::int64_t step) const {
  return static_cast<std::size_t>((row / as.rows * steps + step) * as.rows * step_groups + row % as.rows * 2);
}

void PackedRows::pack(const BlockScaledTensor& t, std::int64_t row, const Scales& scales) {
  const Row padded(t, row, steps);
  const std::int64_t tile = row / as.rows, r = row % as.rows, run = as.tiles.run;
  const std::int64_t lane = as.by_lane ? as.tiles.lane[static_cast<std::size_t>(r)] : r;
  Whole& all = whole[static_cast<std::size_t>(tile)];
  double norm = 0;
  for (std::int64_t p = 0; p < parts; ++p) {
    const std::int64_t step = p * part_steps, before = (tile * steps + step) * as.rows;
    const isa::PackFacts facts = as.tiles.pack(
        {padded.codes.data() + step * step_k / 2, padded.scales.data() + step * step_groups,
         scales.fields.data(), static_cast<int>(std::min(part_steps, steps - step)), as.rows, as.value_offset,
         fraction_bits, values_.data() + before * step_k + lane * 2 * run, weights_.data() + place(row, step),
         offsets_.empty() ? nullptr : offsets_.data() + place(row, step) * static_cast<std::size_t>(run),
         units_.data() + before + r});
    Part& of_part = part[static_cast<std::size_t>(tile * parts + p)];
    of_part.spread = std::max(of_part.spread, facts.spread);
    of_part.norm = std::max(of_part.norm, facts.norm);
    all.least = std::min(all.least, facts.least);
    all.largest = std::max(all.largest, facts.largest);
    norm += facts.square;
  }
  constexpr double rounded = 1 + 0x1p-20;  // more than the roundings of the sum take away
  if (norm > 0) all.square = std::max(all.square, std::ilogb(norm * rounded) + 1);
  has_nan[static_cast<std::size_t>(row)] =
      std::ranges::any_of(padded.scales, [&](std::uint8_t code) { return scales.is_nan[code]; });
}

void PackedRows::add_model(const BlockScaledTensor& t, std::int64_t row, const Scales& scales) {
  const Row padded(t, row, steps);
  for (std::int64_t s = 0; s < steps; ++s)
    for (std::size_t p = 0; p < 2; ++p) {
      CodePair pair;
      const std::size_t group = static_cast<std::size_t>(s) * step_groups + 2 * p;
      as.tiles.unpack(padded.codes.data() + group * group_size / 2, as.value_offset, pair);
      for (std::size_t g = 0; g < 2; ++g) {
        const ScaleFields& scale = scales.fields[padded.scales[group + g]];
        const bool counts = pair.nonzero[g] != 0 && scale.significand != 0;
        const std::size_t at = place(row, s) + p * static_cast<std::size_t>(2 * as.rows) + g;
        significands_[at] = counts ? scale.significand : std::int16_t{0};
        exponents_[at] =
            static_cast<std::int16_t>((counts ? scale.exponent : 0) - fraction_bits + as.exponent_offset);
        nonzero_[at] = counts ? pair.nonzero[g] : std::uint16_t{0};
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
