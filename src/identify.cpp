#include <nvfp4/identify.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include <nvfp4/producers.hpp>

#include "same.hpp"

namespace nvfp4 {
namespace {

// What there is to try.

std::vector<FourOverSix> options_of(const Dialect& dialect) {
  if (!dialect.four_over_six) return {FourOverSix{}};
  std::vector<FourOverSix> all;
  for (const int e4m3_max : {448, 256})
    for (const Select select : {Select::mae, Select::mse})
      for (const bool error_fast : {false, true}) all.push_back({e4m3_max, select, error_fast});
  return all;
}

bool is_valid(const QuantizeSpec& spec) try {
  validate(spec);
  return true;
} catch (const std::invalid_argument&) {
  return false;
}

std::vector<QuantizeSpec> all_specs() {
  std::vector<QuantizeSpec> specs;
  for (const Dialect* dialect : all_dialects())
    for (const BlockShape block : {BlockShape{1, dialect->block_cols}, BlockShape{16, 16}})
      for (const TensorScale scale : {TensorScale::tensor, TensorScale::row})
        for (const FourOverSix& options : options_of(*dialect)) {
          const QuantizeSpec spec{
              .dialect = dialect, .block = block, .tensor_scale = scale, .four_over_six = options};
          if (is_valid(spec)) specs.push_back(spec);
        }
  return specs;
}

/// One way that the input may have been turned before it was quantized, with what is found of it once.
class Operand {
 public:
  Operand(MatrixView x, bool transposed, std::optional<Signs> rht, std::optional<HadamardSum> sum,
          const Kernels& kernels)
      : transposed(transposed), rht(rht), view(x), kernels_(kernels), sum_(sum) {
    if (transposed) keep(transpose(view));
    if (rht) keep(kernels.hadamard(view, {.signs = *rht, .sum = *sum}));
  }
  Operand(const Operand&) = delete;  // view points into storage_

  /// Whether a dialect's transform is this one: their sums differ for BF16.
  bool is_of(const Dialect& dialect) const { return !rht || hadamard_sum(dialect, view.dtype) == sum_; }

  float amax(const Dialect& dialect) {
    auto& known = amax_[dialect.nan_in_tensor_amax];
    if (!known) known = kernels_.amax(view, dialect);
    return *known;
  }

  const bool transposed;
  const std::optional<Signs> rht;
  MatrixView view;

 private:
  void keep(Matrix m) {
    storage_ = std::move(m);
    view = storage_.view();
  }
  const Kernels& kernels_;
  std::optional<HadamardSum> sum_;
  Matrix storage_;
  std::optional<float> amax_[2];
};

/// Calls `visit` with each operand that has this many rows, one at a time: they may be large.
template <class Visit>
void for_each_operand(MatrixView x, std::int64_t rows, const Kernels& kernels, Visit visit) {
  for (const bool turn : {false, true}) {
    if ((turn ? x.cols : x.rows) != rows) continue;
    Operand plain(x, turn, std::nullopt, std::nullopt, kernels);
    visit(plain);
    for (const Signs signs : {Signs::te, Signs::none})
      for (const HadamardSum sum : {HadamardSum::fma_chain, HadamardSum::tensor_core}) {
        if (plain.view.cols % 16 || (sum == HadamardSum::tensor_core && x.dtype != Dtype::bf16)) continue;
        Operand transformed(x, turn, signs, sum, kernels);
        visit(transformed);
      }
  }
}

// What somebody's bytes may say.

template <class How>
struct Reading {
  How how;
  std::vector<std::uint8_t> bytes;  ///< linear, low nibble first
};

std::vector<Reading<Packing>> code_readings(std::span<const std::uint8_t> codes) {
  std::vector<Reading<Packing>> readings;
  for (const Packing packing : {Packing::low_first, Packing::high_first, Packing::ggml}) {
    if (packing != Packing::low_first && codes.size() % 8) break;
    std::vector<std::uint8_t> bytes(codes.begin(), codes.end());
    repack(bytes, packing, Packing::low_first);
    readings.push_back({packing, std::move(bytes)});
  }
  return readings;
}

std::vector<Reading<ScaleLayout>> scale_readings(std::span<const std::uint8_t> scales, std::int64_t rows,
                                                 std::int64_t cols) {
  std::vector<Reading<ScaleLayout>> readings;
  for (const ScaleLayout layout : scale_layouts()) {
    const ScaleExtent extent = padded(layout, rows, cols);
    if (extent.rows * extent.cols == static_cast<std::int64_t>(scales.size()))
      readings.push_back({layout, from_layout(layout, scales, rows, cols)});
  }
  return readings;
}

bool sizes_fit(const UnknownOutput& out, const BlockScaledTensor& made) {
  return out.codes.size() == made.codes.size() && out.rows == made.rows;
}

// One candidate against the bytes.

struct Gap {
  std::int64_t bytes = 0;
  std::optional<Mismatch> first{};
};

void count_scales(const BlockScaledTensor& made, std::span<const std::uint8_t> found, std::int64_t from_row,
                  Gap& gap) {
  for (std::size_t i = 0; i < made.scales.size(); ++i) {
    if (same_scale(made.scales[i], found[i], *made.spec.dialect)) continue;
    const auto at = static_cast<std::int64_t>(i);
    if (gap.bytes++ == 0)
      gap.first = {"scales", from_row + at / made.blocks_per_row(), at % made.blocks_per_row(),
                   made.scales[i], found[i]};
  }
}

void count_codes(const BlockScaledTensor& made, std::span<const std::uint8_t> found, std::int64_t from_row,
                 Gap& gap) {
  const auto block_bytes =
      static_cast<std::size_t>(made.row_bytes() / std::max<std::int64_t>(1, made.blocks_per_row()));
  const auto varies = [&](std::size_t i) {
    return made.spec.dialect->nan_codes_vary &&
           is_nan_scale(made.scales[i / block_bytes], *made.spec.dialect);
  };
  for (std::size_t i = 0; i < made.codes.size(); ++i) {
    if (made.codes[i] == found[i] || varies(i)) continue;
    const auto at = static_cast<std::int64_t>(i);
    if (gap.bytes++ == 0)
      gap.first = {"packed", from_row + at / made.row_bytes(), at % made.row_bytes(), made.codes[i],
                   found[i]};
  }
}

/// Rows [first, first + count) of the operand.
struct Strip {
  std::int64_t first, count;
};

MatrixView part(MatrixView x, const Strip& s) {
  const auto* bytes = static_cast<const std::byte*>(x.data);
  return {bytes + static_cast<std::size_t>(s.first * x.cols) * size_of(x.dtype), s.count, x.cols, x.dtype};
}

constexpr std::int64_t sampled_elements = 1 << 18, strip_rows = 16;

/// All of a small operand, some tiles' rows of a large one, its first and last among them.
std::vector<Strip> sample(MatrixView x) {
  if (x.rows * x.cols <= sampled_elements || x.rows < 4 * strip_rows) return {{0, x.rows}};
  const std::int64_t tiles = (x.rows + strip_rows - 1) / strip_rows;
  const std::int64_t taken = std::clamp<std::int64_t>(sampled_elements / (strip_rows * x.cols), 2, tiles);
  std::vector<Strip> strips;
  for (std::int64_t i = 0; i < taken; ++i) {
    const std::int64_t first = i * (tiles - 1) / (taken - 1) * strip_rows;
    strips.push_back({first, std::min(strip_rows, x.rows - first)});
  }
  return strips;
}

/// All that hold, the likeliest first. One FP32 rounding either way is what a reciprocal of a reciprocal may cost.
std::vector<GlobalAs> all_global_as(const QuantizeSpec& spec, std::span<const float> own,
                                    std::span<const float> stored) {
  const bool is_amax = spec.dialect->global_is == GlobalIs::amax;
  const auto divisor = static_cast<float>(global_divisor(spec));
  if (own.empty() && std::ranges::all_of(stored, [](float g) { return g == 1; })) return {GlobalAs::own};
  if (stored.empty()) return {GlobalAs::not_given};
  std::vector<GlobalAs> found;
  const auto add = [&](GlobalAs as, auto holds) {
    if (std::ranges::equal(own, stored, holds)) found.push_back(as);
  };
  add(GlobalAs::own, same_bits);
  add(GlobalAs::inverted, [](float o, float s) { return same_bits(1 / o, s) || same_bits(o, 1 / s); });
  if (!is_amax) return found;
  add(GlobalAs::decode_scale, [&](float o, float s) { return same_bits(o / divisor, s); });
  add(GlobalAs::encode_scale, [&](float o, float s) { return same_bits(divisor / o, s); });
  return found;
}

/// The search over one output's readings.
class Search {
 public:
  Search(const UnknownOutput& output, const Kernels& kernels)
      : output_(output), kernels_(kernels), codes_(code_readings(output.codes)) {}

  /// One candidate; `x` is what its arithmetic starts from.
  void consider(Operand& x, const Origin& origin) {
    const std::int64_t in_sample = is_sampled(x.view) ? sampled(x, origin) : 0;
    if (in_sample < 0 || (in_sample > 0 && found_.nearest && in_sample > least_in_sample_)) return;
    std::vector<Origin> origins;
    const Gap gap = whole(x.view, origin, origins);
    if (gap.bytes < 0) return;
    if (gap.bytes == 0) found_.matches.insert(found_.matches.end(), origins.begin(), origins.end());
    if (found_.nearest && gap.bytes >= found_.differing_bytes) return;
    found_.nearest = origins.front();
    found_.differing_bytes = gap.bytes;
    found_.first = gap.first;
    least_in_sample_ = in_sample;
  }

  Identification result() && {
    if (found_.matches.empty()) return std::move(found_);
    return {std::move(found_.matches), std::nullopt};
  }

 private:
  static bool is_sampled(MatrixView x) { return sample(x).front().count != x.rows; }

  const std::vector<Reading<ScaleLayout>>& scales_of(std::int64_t blocks_per_row) {
    auto& readings = scales_[blocks_per_row];
    if (readings.empty()) readings = scale_readings(output_.scales, output_.rows, blocks_per_row);
    return readings;
  }

  /// The readings that leave the fewest differing bytes, that many; -1 where no size fits.
  struct Fit {
    Gap gap{-1};
    std::vector<Packing> packings{};
    std::vector<ScaleLayout> layouts{};
  };

  Fit nearest_readings(const BlockScaledTensor& made, const Strip& strip) {
    const auto slice = [&](const std::vector<std::uint8_t>& all, std::size_t size) {
      const std::size_t row = size / static_cast<std::size_t>(made.rows);
      return std::span(all).subspan(static_cast<std::size_t>(strip.first) * row, size);
    };
    const auto least = [&](const auto& readings, std::size_t size, auto count, auto& hows) {
      Gap best{-1};
      for (const auto& reading : readings) {
        Gap gap;
        count(made, slice(reading.bytes, size), strip.first, gap);
        if (best.bytes >= 0 && gap.bytes > best.bytes) continue;
        if (best.bytes != gap.bytes) {
          best = gap;
          hows.clear();
        }
        hows.push_back(reading.how);
      }
      return best;
    };
    Fit fit;
    const bool packed = made.spec.dialect->element == Format::e2m1;
    const Gap scales = least(scales_of(made.blocks_per_row()), made.scales.size(), count_scales, fit.layouts);
    const Gap codes = least(std::span(codes_).first(packed ? codes_.size() : 1), made.codes.size(),
                            count_codes, fit.packings);
    if (scales.bytes >= 0) fit.gap = {scales.bytes + codes.bytes, scales.first ? scales.first : codes.first};
    return fit;
  }

  /// One candidate against all bytes: `origins` takes each way to read them that is as near as any.
  Gap whole(MatrixView x, const Origin& origin, std::vector<Origin>& origins) {
    const BlockScaledTensor made = kernels_.quantize(x, origin.spec, {});
    if (!sizes_fit(output_, made)) return {-1};
    Fit fit = nearest_readings(made, {0, made.rows});
    if (fit.gap.bytes < 0) return fit.gap;
    std::vector<GlobalAs> globals = all_global_as(origin.spec, made.global, output_.global);
    if (globals.empty()) {
      globals = {GlobalAs::own};
      fit.gap.bytes += 4;
      if (!fit.gap.first)
        fit.gap.first = {"global", 0, 0, std::bit_cast<std::uint32_t>(made.global_at(0, 0)),
                         std::bit_cast<std::uint32_t>(output_.global[0])};
    }
    for (const GlobalAs global : globals)
      for (const Packing packing : fit.packings)
        for (const ScaleLayout layout : fit.layouts)
          origins.push_back({origin.spec, origin.transposed, origin.rht, packing, layout, global});
    return fit.gap;
  }

  /// Of a sample: -1 where no size fits. The tensor's amax is the whole tensor's.
  std::int64_t sampled(Operand& x, Origin origin) {
    if (origin.spec.tensor_scale == TensorScale::tensor) {
      const float amax = x.amax(*origin.spec.dialect);
      if (!(amax >= 0)) return 0;  // a NaN decides nothing here: on to the whole
      origin.spec.amax = amax;
    }
    std::int64_t bytes = 0;
    for (const Strip& strip : sample(x.view)) {
      const BlockScaledTensor made = kernels_.quantize(part(x.view, strip), origin.spec, {});
      if (made.row_bytes() * output_.rows != static_cast<std::int64_t>(output_.codes.size())) return -1;
      const Gap gap = nearest_readings(made, strip).gap;
      if (gap.bytes < 0) return -1;
      bytes += gap.bytes;
    }
    return bytes;
  }

  const UnknownOutput& output_;
  const Kernels& kernels_;
  std::vector<Reading<Packing>> codes_;
  std::map<std::int64_t, std::vector<Reading<ScaleLayout>>> scales_;  ///< by blocks per row
  Identification found_;
  std::int64_t least_in_sample_ = 0;
};

}  // namespace

std::string_view name(GlobalAs as) {
  constexpr std::string_view names[] = {"own", "inverted", "decode_scale", "encode_scale", "not_given"};
  return names[static_cast<std::size_t>(as)];
}

std::optional<GlobalAs> global_as(const QuantizeSpec& spec, std::span<const float> own,
                                  std::span<const float> stored) {
  const auto all = all_global_as(spec, own, stored);
  return all.empty() ? std::nullopt : std::optional(all.front());
}

Identification identify(MatrixView x, const UnknownOutput& output, const Kernels& kernels) {
  Search search(output, kernels);
  const std::vector<QuantizeSpec> specs = all_specs();
  for_each_operand(x, output.rows, kernels, [&](Operand& operand) {
    for (const QuantizeSpec& spec : specs)
      if (operand.is_of(*spec.dialect))
        search.consider(operand, {.spec = spec, .transposed = operand.transposed, .rht = operand.rht});
  });
  return std::move(search).result();
}

bool same_arithmetic(const QuantizeSpec& a, const QuantizeSpec& b) {
  return a.dialect == b.dialect && a.block == b.block && a.tensor_scale == b.tensor_scale &&
         a.four_over_six == b.four_over_six;
}

std::vector<const Producer*> producers_of(const Origin& rows, const Origin* columns) {
  const auto makes = [&](const Producer& p) {
    if (!same_arithmetic(p.spec, rows.spec) || rows.transposed) return false;
    const std::optional<Signs> rht = p.rht == 16 ? std::optional(p.signs) : std::nullopt;
    if (!p.columns) return !columns && rows.rht == rht;
    return !rows.rht && (!columns || columns->rht == rht);
  };
  std::vector<const Producer*> found;
  for (const Producer& p : producers())
    if (makes(p)) found.push_back(&p);
  return found;
}

}  // namespace nvfp4
