#include <algorithm>
#include <array>
#include <bitset>
#include <map>
#include <mutex>

#include <nvfp4/cases.hpp>
#include <nvfp4/identify.hpp>

namespace nvfp4 {
namespace {

/// What bytes can show by themselves.
constexpr std::array traits{
    "a block scale with its sign bit set",
    "a NaN block scale",
    "a block scale of 0",
    "code -0 under a block scale of 0",
    "a value under a block scale of 0",
    "code -0",
    "beside a largest block scale of 448 a block with a normal one whose largest code is less than 7",
    "448 as the largest block scale",
    "256 as the largest block scale",
    "another largest block scale than 448 or 256"};
using Traits = std::bitset<traits.size()>;

constexpr int smallest_normal = 0x08, code_of_448 = 0x7E, code_of_256 = 0x78;

int largest_code(const BlockScaledTensor& t, std::size_t block, bool& minus_zero) {
  int largest = 0;
  for (std::size_t i = 8 * block; i < 8 * block + 8; ++i)
    for (const int code : {t.codes[i] & 15, t.codes[i] >> 4}) {
      largest = std::max(largest, code & 7);
      minus_zero |= code == 8;
    }
  return largest;
}

/// Of E2M1 codes under E4M3 scales of 16.
Traits traits_of(const BlockScaledTensor& t) {
  Traits found;
  int top = 0;
  for (std::size_t block = 0; block < t.scales.size(); ++block) {
    const int scale = t.scales[block], magnitude = scale & 0x7F;
    bool minus_zero = false;
    const int largest = largest_code(t, block, minus_zero);
    found[0] = found[0] || scale > 0x7F;
    found[1] = found[1] || magnitude == 0x7F;
    found[2] = found[2] || magnitude == 0;
    found[3] = found[3] || (magnitude == 0 && minus_zero);
    found[4] = found[4] || (magnitude == 0 && largest > 0);
    found[5] = found[5] || minus_zero;
    found[6] =
        found[6] || (magnitude >= smallest_normal && magnitude < code_of_448 && largest > 0 && largest < 7);
    if (magnitude != 0x7F) top = std::max(top, magnitude);
  }
  found[6] = found[6] && top == code_of_448;
  found[7] = top == code_of_448;
  found[8] = top == code_of_256;
  found[9] = !found[7] && !found[8];
  return found;
}

struct PackedCase {
  std::string_view pack;
  Matrix input;
};

/// Of every pack. Made once for all dialects, which takes longer than any of them does.
const std::vector<PackedCase>& all_cases() {
  static const std::vector<PackedCase> all = [] {
    std::vector<PackedCase> made;
    for (const Dtype dtype : {Dtype::fp32, Dtype::bf16})
      for (const std::string_view pack : case_packs())
        for (Case& c : make_cases(pack, dtype, 0)) made.push_back({pack, std::move(c.input)});
    return made;
  }();
  return all;
}

/// All that a spec shows on the case packs, which sit on every boundary that these traits come from. That a
/// block's largest code is small is not taken from tensors so tiny that their own multiplier overflows.
Traits shown_by(const QuantizeSpec& spec) {
  Traits shown;
  for (const PackedCase& c : all_cases()) {
    Traits here = traits_of(cpu_kernels().quantize(c.input.view(), spec, {}));
    if (c.pack == "subnormals") here.reset(6);
    shown |= here;
  }
  return shown;
}

/// By a dialect's options. Found once: the case packs do not change.
Traits shown_by(const Dialect& dialect) {
  static std::mutex mutex;
  static std::map<const Dialect*, Traits> known;
  const std::lock_guard lock(mutex);
  if (const auto found = known.find(&dialect); found != known.end()) return found->second;
  QuantizeSpec spec = default_spec(dialect);
  Traits shown = shown_by(spec);
  for (const int e4m3_max : {448, 256})
    if (dialect.four_over_six) {
      spec.four_over_six.e4m3_max = e4m3_max;
      shown |= shown_by(spec);
    }
  return known[&dialect] = shown;
}

/// Whether 16 rows share each scale, so that the tile's other rows explain a small largest code.
bool may_be_tiled(const BlockScaledTensor& t) {
  const std::int64_t cols = t.blocks_per_row();
  for (std::int64_t i = 0; i < t.rows; ++i)
    for (std::int64_t j = 0; j < cols; ++j)
      if (t.scales[static_cast<std::size_t>(i * cols + j)] !=
          t.scales[static_cast<std::size_t>(i / 16 * 16 * cols + j)])
        return false;
  return true;
}

std::optional<BlockScaledTensor> read(const UnknownOutput& out, const Dialect& dialect) {
  BlockScaledTensor t{.spec = default_spec(dialect), .rows = out.rows};
  const std::int64_t row_bytes =
      static_cast<std::int64_t>(out.codes.size()) / std::max<std::int64_t>(1, out.rows);
  t.cols = row_bytes * 8 / nvfp4::info(dialect.element).bits;
  for (const ScaleLayout layout : scale_layouts()) {
    const ScaleExtent extent = padded(layout, t.rows, t.blocks_per_row());
    if (extent.rows * extent.cols != static_cast<std::int64_t>(out.scales.size())) continue;
    t.scales = from_layout(layout, out.scales, t.rows, t.blocks_per_row());
    t.codes.assign(out.codes.begin(), out.codes.end());
    return t;
  }
  return std::nullopt;
}

std::string why_not(const UnknownOutput& out, const Dialect& dialect) {
  const auto t = read(out, dialect);
  if (!t)
    return "a scale for each " + std::to_string(dialect.block_cols) +
           " elements has another size in every layout";
  if (dialect.global_is == GlobalIs::none && !std::ranges::all_of(out.global, [](float g) { return g == 1; }))
    return "it has no second-level scale";
  if (dialect.global_is == GlobalIs::amax && std::ranges::any_of(out.global, [](float g) { return g < 0; }))
    return "its second-level scale is an amax, and none is negative";
  if (dialect.scale != Format::ue4m3 && dialect.scale != Format::e4m3) return "";
  const Traits unseen = traits_of(*t) & ~shown_by(dialect);
  if (unseen.none() || may_be_tiled(*t)) return "";
  for (std::size_t i = 0; i < traits.size(); ++i)
    if (unseen[i])
      return std::string("the output has ") + traits[i] + ", which it makes of no input of the case packs";
  return "";
}

}  // namespace

std::vector<Exclusion> exclusions(const UnknownOutput& output) {
  std::vector<Exclusion> all;
  for (const Dialect* dialect : all_dialects())
    if (std::string why = why_not(output, *dialect); !why.empty()) all.push_back({dialect, std::move(why)});
  return all;
}

}  // namespace nvfp4
