#include <nvfp4/diagnose.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>

#include <nvfp4/identify.hpp>
#include <nvfp4/kernels.hpp>

#include "random_story.hpp"
#include "same.hpp"
#include "stored_code.hpp"

namespace nvfp4 {
namespace {

/// Of a stored scale, bit 7 being a sign in E4M3. E8M0 has no zero.
bool is_zero_scale(std::uint8_t scale, const Dialect& d) {
  return d.scale != Format::e8m0 && (scale & 0x7F) == 0;
}

/// Both results, one being as it was stored.
struct Pair {
  const BlockScaledTensor& expected;
  const StoredTensor& stored;
  MatrixView input;
  const BlockScaledTensor& actual = stored.tensor;

  bool same_shape() const {
    return expected.rows == actual.rows && expected.cols == actual.cols &&
           expected.spec.block.cols == actual.spec.block.cols &&
           expected.codes.size() == actual.codes.size() && expected.scales.size() == actual.scales.size();
  }
  bool packed() const { return expected.spec.dialect->element == Format::e2m1; }
  bool codes_equal() const { return expected.codes == actual.codes; }
  bool scales_equal() const {
    return std::ranges::equal(expected.scales, actual.scales, [&](std::uint8_t a, std::uint8_t b) {
      return same_scale(a, b, *expected.spec.dialect);
    });
  }
  bool same_record() const {
    const QuantizeSpec &e = expected.spec, &a = actual.spec;
    return e.dialect == a.dialect && e.block == a.block && e.tensor_scale == a.tensor_scale &&
           e.four_over_six == a.four_over_six;
  }
  bool global_is_own_inverted() const {
    return global_as(expected.spec, expected.global, actual.global) == GlobalAs::inverted;
  }
  /// One that is missing is not compared.
  bool globals_equal() const {
    return actual.global.empty() || std::ranges::equal(expected.global, actual.global, same_bits);
  }

  /// Whether each of the padded elements that differs satisfies `holds(row, col, expected code, actual code)`.
  template <class Holds>
  bool every_difference(Holds holds) const {
    const std::int64_t cols = expected.blocks_per_row() * expected.spec.block.cols;
    for (std::int64_t i = 0; i < expected.rows; ++i)
      for (std::int64_t j = 0; j < cols; ++j) {
        const int e = code_at(expected, i, j), a = code_at(actual, i, j);
        if (e != a && !holds(i, j, e, a)) return false;
      }
    return true;
  }
};

using Cause = std::optional<Diagnosis>;

std::vector<float> widened(MatrixView x) {
  const auto count = static_cast<std::size_t>(x.rows * x.cols);
  std::vector<float> values(count);
  if (x.dtype == Dtype::fp32) {
    std::memcpy(values.data(), x.data, 4 * count);
    return values;
  }
  const auto* from = static_cast<const std::uint16_t*>(x.data);
  const std::vector<std::uint32_t> codes(from, from + count);
  cpu_kernels().decode(codes, x.dtype == Dtype::bf16 ? Format::bf16 : Format::fp16, values);
  return values;
}

// Of one array.

Cause packing(const Pair& p) {
  if (p.codes_equal() || !p.packed()) return {};
  const auto holds = [&](Packing packing) {
    auto codes = p.actual.codes;
    repack(codes, packing, Packing::low_first);
    return codes == p.expected.codes;
  };
  if (holds(Packing::high_first))
    return Diagnosis{"swapped_nibbles", "the codes are right with the nibbles of each byte swapped"};
  if (holds(Packing::ggml)) return Diagnosis{"swapped_nibbles", "the codes are right in ggml's packing"};
  return {};
}

Cause layout(const Pair& p) {
  const auto stored = p.stored.stored_scales.empty() ? std::span<const std::uint8_t>(p.actual.scales)
                                                     : p.stored.stored_scales;
  const BlockScaledTensor& e = p.expected;
  if (p.scales_equal()) return {};
  const std::string but = ", not " + std::string(name(p.stored.layout));
  for (const ScaleLayout layout : scale_layouts()) {
    const ScaleExtent extent = padded(layout, e.rows, e.blocks_per_row());
    if (extent.rows * extent.cols != static_cast<std::int64_t>(stored.size())) continue;
    if (from_layout(layout, stored, e.rows, e.blocks_per_row()) == e.scales)
      return Diagnosis{"scale_layout", "the scales are right in layout " + std::string(name(layout)) + but};
    if (e.scales.size() == stored.size() &&
        from_layout(layout, e.scales, e.rows, e.blocks_per_row()) == p.actual.scales)
      return Diagnosis{"scale_layout", "linear scales were read as layout " + std::string(name(layout))};
  }
  return {};
}

Cause global(const Pair& p) {
  if (p.globals_equal()) return {};
  const auto as = global_as(p.expected.spec, p.expected.global, p.actual.global);
  if (as == GlobalAs::inverted)
    return Diagnosis{"global_inverted", "the tensor scale is 1 over the expected one"};
  if (as == GlobalAs::decode_scale)
    return Diagnosis{"global_inverted",
                     "the tensor scale is the decode scale (amax / divisor), the expected one an amax"};
  if (as == GlobalAs::encode_scale)
    return Diagnosis{"global_inverted",
                     "the tensor scale is the encode scale (divisor / amax), the expected one an amax"};
  if (std::ranges::equal(p.expected.global, p.actual.global,
                         [](float e, float a) { return same_bits(e * e, a); }))
    return Diagnosis{"global_inverted",
                     "the tensor scale is the expected one squared: it was multiplied in twice"};
  return {};
}

// Of codes and scales together, the tensor scale being equal.

bool decodes_to_zero(const BlockScaledTensor& t, std::int64_t row, std::int64_t block) {
  if (is_zero_scale(scale_at(t, row, block * t.spec.block.cols), *t.spec.dialect)) return true;
  for (int j = 0; j < t.spec.block.cols; ++j)
    if (code_at(t, row, block * t.spec.block.cols + j) & 7) return false;
  return true;
}

Cause padding(const Pair& p) {
  const auto is_pad = [&](std::int64_t, std::int64_t j, int, int) { return j >= p.expected.cols; };
  if (!p.scales_equal() || !p.every_difference(is_pad)) return {};
  if (!p.codes_equal()) return Diagnosis{"padding_only", "only codes of padding columns differ"};
  if (p.stored.stored_scales.empty()) return {};
  const auto clean = to_layout(p.stored.layout, p.actual.scales, p.actual.rows, p.actual.blocks_per_row());
  if (std::ranges::equal(clean, p.stored.stored_scales)) return {};
  return Diagnosis{"padding_only", "only the padding of the scales is not zero"};
}

Cause inert(const Pair& p) {
  const auto under_zero = [&](std::int64_t i, std::int64_t j, int, int) {
    return is_zero_scale(scale_at(p.expected, i, j), *p.expected.spec.dialect);
  };
  if (p.codes_equal() || !p.scales_equal() || !p.every_difference(under_zero)) return {};
  return Diagnosis{"inert_codes", "only codes under a zero scale differ; they decode to zero"};
}

Cause minus_zero(const Pair& p) {
  const auto signs = [](std::int64_t, std::int64_t, int e, int a) { return ((e | a) & 7) == 0; };
  if (p.codes_equal() || !p.scales_equal() || !p.every_difference(signs)) return {};
  return Diagnosis{"minus_zero", "only -0 for +0"};
}

Cause zero_blocks(const Pair& p) {
  if (p.scales_equal()) return {};
  const std::int64_t block_bytes = p.expected.spec.block.cols / 2;
  for (std::int64_t i = 0; i < p.expected.rows; ++i)
    for (std::int64_t b = 0; b < p.expected.blocks_per_row(); ++b) {
      const auto at = i * p.expected.row_bytes() + b * block_bytes;
      const std::int64_t col = b * p.expected.spec.block.cols;
      const bool same =
          same_scale(scale_at(p.expected, i, col), scale_at(p.actual, i, col), *p.expected.spec.dialect) &&
          std::equal(p.expected.codes.begin() + at, p.expected.codes.begin() + at + block_bytes,
                     p.actual.codes.begin() + at);
      if (!same && !(decodes_to_zero(p.expected, i, b) && decodes_to_zero(p.actual, i, b))) return {};
    }
  return Diagnosis{"zero_blocks", "only blocks that decode to zero differ: what a zero block stores"};
}

constexpr float grid[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};  ///< magnitudes of E2M1's codes

/// The distance of x from the midpoint of two neighbouring codes, as a part of it, is a few FP32 roundings at most:
/// the orders of operations here make no more than six, each within 2^-24.
bool is_tie(float x, int code, int other, float value_of_one) {
  const double middle =
      static_cast<double>(grid[code & 7] + grid[other & 7]) / 2 * static_cast<double>(value_of_one);
  return std::fabs(std::fabs(static_cast<double>(x)) - middle) <= middle * 0x1p-21;
}

Cause ties(const Pair& p) {
  if (p.codes_equal() || !p.scales_equal() || p.expected.spec.stochastic) return {};
  const auto neighbours = [](std::int64_t, std::int64_t, int e, int a) {
    return (e & 8) == (a & 8) && std::abs((e & 7) - (a & 7)) == 1;
  };
  if (!p.every_difference(neighbours)) return {};
  if (!p.input.data)
    return Diagnosis{"ties_only",
                     "every differing code is a neighbour of the expected one under the same scale: "
                     "ties, as division against a reciprocal makes them"};
  const Matrix x = cpu_kernels().dequantize(p.expected), y = cpu_kernels().dequantize(p.actual);
  const auto element = [&](std::int64_t i, std::int64_t j) {
    return static_cast<std::size_t>(i * p.input.cols + j);
  };
  const std::vector<float> in = widened(p.input);
  const auto tie = [&](std::int64_t i, std::int64_t j, int e, int a) {
    if (j >= p.expected.cols) return false;
    // One of the two codes is not 0, and its value over its grid point is what a code of 1 decodes to.
    const float one = (e & 7) ? x.f32()[element(i, j)] / grid[e & 7] : y.f32()[element(i, j)] / grid[a & 7];
    return is_tie(in[element(i, j)], e, a, std::fabs(one));
  };
  if (!p.every_difference(tie)) return {};
  return Diagnosis{"ties_only",
                   "every differing element lies half way between the two codes to within a few FP32 "
                   "roundings: another order of operations (division, reciprocal)"};
}

Cause random_bits(const Pair& p) {
  if (p.codes_equal()) return {};
  const auto text = random_story(p.expected, p.actual, p.input);
  return text ? Cause{{"random_stream", *text}} : Cause{};
}

// Of everything.

std::string text_of(const Origin& o) {
  std::string text = std::string(o.spec.dialect->name) + ' ' + std::to_string(o.spec.block.rows) + 'x' +
                     std::to_string(o.spec.block.cols);
  if (o.spec.tensor_scale == TensorScale::row && !o.spec.dialect->outer_cols)
    text += ", a tensor scale for each row";
  if (o.transposed) text += ", of the transpose";
  if (o.rht) text += ", after RHT-16 with signs " + std::string(name(*o.rht));
  return text;
}

Cause by_origin(const Origin& o, const QuantizeSpec& expected) {
  const std::string text = "these are the bytes of " + text_of(o);
  if (o.transposed) return Diagnosis{"transposed", text};
  if (o.spec.block != expected.block) return Diagnosis{"other_block", text};
  return Diagnosis{"other_dialect", text};
}

/// By trying: the origin nearest to what was expected.
Cause tried(const Pair& p) {
  const auto scales = p.stored.stored_scales.empty() ? std::span<const std::uint8_t>(p.actual.scales)
                                                     : p.stored.stored_scales;
  const auto found = identify(p.input, {p.actual.rows, p.actual.codes, scales, p.actual.global});
  const auto distance = [&](const Origin& o) {
    return 8 * o.transposed + 4 * o.rht.has_value() + 2 * (o.spec.block != p.expected.spec.block) +
           (o.spec.dialect != p.actual.spec.dialect);
  };
  const auto best = std::ranges::min_element(found.matches, std::less{}, distance);
  if (best == found.matches.end()) return {};
  const QuantizeSpec& e = p.expected.spec;
  const bool as_expected =
      best->spec.dialect == e.dialect && best->spec.block == e.block && !best->transposed && !best->rht;
  if (as_expected && best->spec.tensor_scale == e.tensor_scale && best->spec.four_over_six == e.four_over_six)
    return {};
  return by_origin(*best, p.expected.spec);
}

/// By the two records, where there is no input to try.
Cause recorded(const Pair& p) {
  if (p.same_record()) return {};
  return by_origin({.spec = p.actual.spec}, p.expected.spec);
}

/// A 16x16 result is its transpose's, transposed.
Cause transposed(const Pair& p) {
  const BlockScaledTensor &e = p.expected, &a = p.actual;
  if (a.codes.size() != static_cast<std::size_t>(a.rows * a.row_bytes())) return {};
  if (e.rows != a.cols || e.cols != a.rows || !p.packed() || a.spec.dialect->element != Format::e2m1)
    return {};
  for (std::int64_t i = 0; i < e.rows; ++i)
    for (std::int64_t j = 0; j < e.cols; ++j)
      if (code_at(e, i, j) != code_at(a, j, i))
        return e.rows == e.cols ? Cause{} : Diagnosis{"transposed", "its shape is the transpose's"};
  return Diagnosis{"transposed", "its codes are the expected ones, transposed"};
}

}  // namespace

std::vector<Diagnosis> diagnose(const BlockScaledTensor& expected, const StoredTensor& stored,
                                MatrixView input) {
  const Pair p{expected, stored, input};
  std::vector<Diagnosis> causes;
  const auto add = [&](const Cause& cause) {
    if (cause) causes.push_back(*cause);
    return cause.has_value();
  };
  bool explained = false;
  if (p.same_shape()) {
    if (p.codes_equal() && p.scales_equal() && p.globals_equal()) {
      add(padding(p));
      return causes;
    }
    const bool codes = p.codes_equal() || add(packing(p));
    const bool scales = p.scales_equal() || add(layout(p));
    const bool globals = p.globals_equal() || add(global(p));
    explained = codes && scales && globals;
    if (p.globals_equal() && p.packed() && !explained)
      for (const auto& joint : {padding, minus_zero, inert, zero_blocks, random_bits, ties})
        explained |= add(joint(p));
  }
  // Another dialect says more than what it does to an array, ties and the form of its global above all.
  const bool says_enough = explained && causes.front().code != "ties_only" && p.same_record();
  if (says_enough && (!input.data || p.globals_equal() || p.global_is_own_inverted())) return causes;
  Cause whole = input.data ? tried(p) : recorded(p);
  if (!whole && !explained) whole = transposed(p);
  if (whole) causes.insert(causes.begin(), *whole);
  return causes;
}

}  // namespace nvfp4
