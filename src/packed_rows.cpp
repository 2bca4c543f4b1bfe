#include "packed_rows.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include <nvfp4/kernels.hpp>

namespace nvfp4::cpu {
namespace {

using isa::group_size, isa::step_groups, isa::step_k, isa::CodePair;

using Scales = std::array<Unpacked, 256>;

Scales scales_of(Format format) {
  Scales table{};
  for (unsigned code = 0; code < table.size(); ++code) {
    table[code] = unpack_code(code, info(format));
    if (table[code].kind & ProductRows::is_nan) table[code].significand = 0;
  }
  return table;
}

double power_of_two(int exponent) {
  return std::bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52);
}

/// A row's codes, padded with zeros to whole steps.
std::vector<std::uint8_t> codes_of(const BlockScaledTensor& t, std::int64_t row, std::int64_t steps) {
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(steps * step_k / 2));
  std::copy_n(t.codes.begin() + row * t.row_bytes(), (t.cols + 1) / 2, codes.begin());
  if (t.cols % 2) codes[static_cast<std::size_t>(t.cols / 2)] &= 15;
  return codes;
}

}  // namespace

/// A row's step, apart.
struct PackedRows::Step {
  std::array<CodePair, 2> codes;
  std::array<Unpacked, step_groups> scales;
  std::array<int, step_groups> weights{};
  int least = 1000, largest = -1000;  ///< exponents of groups that count
  double norm = 0;                    ///< sum of (doubled value * weight)^2

  const CodePair& pair(std::size_t g) const { return codes[g / 2]; }
  bool counts(std::size_t g) const { return scales[g].significand != 0 && pair(g).nonzero[g % 2] != 0; }
  bool counts() const { return least <= largest; }
  int unit() const { return counts() ? least : 0; }

  void weigh() {
    int low = least, high = largest;
    for (std::size_t g = 0; g < step_groups; ++g) {
      low = counts(g) ? std::min(low, scales[g].exponent) : low;
      high = counts(g) ? std::max(high, scales[g].exponent) : high;
    }
    std::int64_t squares = 0;  // below 2^43
    for (std::size_t g = 0; g < step_groups; ++g) {
      const std::int64_t weight =
          counts(g) ? scales[g].significand << std::min(scales[g].exponent - low, most_spread) : 0;
      weights[g] = static_cast<int>(weight);
      squares += pair(g).squares[g % 2] * weight * weight;
    }
    least = low, largest = high, norm = static_cast<double>(squares);
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
  each_step(t, [this](const Step& step, std::int64_t row, std::int64_t s) {
    write(step, row, s);
    note(step, row, s);
  });
}

void PackedRows::add_model(const BlockScaledTensor& t) {
  significands_.resize(weights_.size());
  exponents_.resize(weights_.size());
  nonzero_.resize(weights_.size());
  each_step(t, [this](const Step& step, std::int64_t row, std::int64_t s) { write_model(step, row, s); });
}

/// Threads take whole tiles.
template <class Use>
void PackedRows::each_step(const BlockScaledTensor& t, Use use) {
  const Scales scales = scales_of(t.spec.dialect->scale);
#pragma omp parallel for schedule(static) num_threads(threads())
  for (std::int64_t tile = 0; tile < tiles; ++tile)
    for (std::int64_t row = tile * as.rows; row < std::min(rows, (tile + 1) * as.rows); ++row) {
      const std::vector<std::uint8_t> codes = codes_of(t, row, steps);
      const std::uint8_t* of_row = t.scales.data() + row * t.blocks_per_row();
      for (std::int64_t s = 0; s < steps; ++s) {
        Step step;
        for (std::size_t p = 0; p < 2; ++p)
          as.tiles.unpack(codes.data() + (static_cast<std::size_t>(2 * s) + p) * group_size, as.value_offset,
                          step.codes[p]);
        for (std::int64_t g = 0; g < step_groups; ++g) {
          const std::int64_t k = s * step_k + g * group_size;
          step.scales[static_cast<std::size_t>(g)] = scales[k < t.cols ? of_row[k / t.spec.block.cols] : 0];
        }
        step.weigh();
        use(step, row, s);
      }
    }
}

/// Where quantities of a group stand.
std::size_t PackedRows::group_at(std::int64_t row, std::int64_t s, std::size_t g) const {
  const std::int64_t pair = (row / as.rows * steps + s) * 2 + static_cast<std::int64_t>(g / 2);
  return static_cast<std::size_t>((pair * as.rows + row % as.rows) * 2) + g % 2;
}

void PackedRows::write(const Step& step, std::int64_t row, std::int64_t s) {
  const std::int64_t tile = row / as.rows, r = row % as.rows, run = as.tiles.run;
  units_[static_cast<std::size_t>((tile * steps + s) * as.rows + r)] =
      static_cast<float>(power_of_two(step.unit() - fraction_bits));
  const std::int64_t lane = (as.by_lane ? as.tiles.lane[static_cast<std::size_t>(r)] : r) * 2 * run;
  for (std::int64_t p = 0; p < 2; ++p) {
    const CodePair& pair = step.codes[static_cast<std::size_t>(p)];
    write_values(pair, values_.data() + ((tile * steps + s) * 2 + p) * as.rows * 2 * group_size + lane);
    const std::size_t at = group_at(row, s, static_cast<std::size_t>(2 * p));
    for (std::size_t g = 0; g < 2; ++g)
      weights_[at + g] = static_cast<std::int16_t>(step.weights[static_cast<std::size_t>(2 * p) + g]);
    if (offsets_.empty()) continue;
    const std::array<std::int32_t, 2> wide{-12 * pair.sums[0], -12 * pair.sums[1]};
    const std::array<std::int16_t, 2> narrow{static_cast<std::int16_t>(wide[0]),
                                             static_cast<std::int16_t>(wide[1])};
    std::byte* to = offsets_.data() + at * static_cast<std::size_t>(run);
    run == 2 ? std::memcpy(to, narrow.data(), sizeof narrow) : std::memcpy(to, wide.data(), sizeof wide);
  }
}

void PackedRows::write_values(const CodePair& pair, std::uint8_t* to) const {
  const auto copy = [&]<std::size_t bytes>(std::integral_constant<std::size_t, bytes>) {
    const auto next = static_cast<std::size_t>(as.rows) * bytes;
    for (std::size_t i = 0; i < sizeof pair.values; i += bytes, to += next)
      std::memcpy(to, pair.values + i, bytes);
  };
  as.tiles.run == 2 ? copy(std::integral_constant<std::size_t, 4>{})
                    : copy(std::integral_constant<std::size_t, 8>{});
}

void PackedRows::write_model(const Step& step, std::int64_t row, std::int64_t s) {
  for (std::size_t g = 0; g < step_groups; ++g) {
    const std::size_t at = group_at(row, s, g);
    const bool counts = step.counts(g);
    const int exponent = (counts ? step.scales[g].exponent : 0) - fraction_bits + as.exponent_offset;
    significands_[at] = static_cast<std::int16_t>(counts ? step.scales[g].significand : 0);
    exponents_[at] = static_cast<std::int16_t>(exponent);
    nonzero_[at] = counts ? step.pair(g).nonzero[g % 2] : 0;
  }
}

void PackedRows::note(const Step& step, std::int64_t row, std::int64_t s) {
  for (const Unpacked& scale : step.scales)
    if (scale.kind & ProductRows::is_nan) has_nan[static_cast<std::size_t>(row)] = 1;
  if (!step.counts()) return;
  const std::int64_t tile = row / as.rows;
  Part& p = part[static_cast<std::size_t>(tile * parts + s / part_steps)];
  p.spread = std::max(p.spread, step.largest - step.least);
  p.norm = std::max(p.norm, step.norm);
  Whole& all = whole[static_cast<std::size_t>(tile)];
  all.least = std::min(all.least, step.least);
  all.largest = std::max(all.largest, step.largest);
  all.norm += step.norm * power_of_two(2 * (step.least - fraction_bits));
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
