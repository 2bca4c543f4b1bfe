#include <bit>

#include <nvfp4/cases.hpp>
#include <nvfp4/compare.hpp>
#include <nvfp4/testing.hpp>

#include "profile.hpp"
#include "verify.hpp"

namespace nvfp4::cli {
namespace {

/// One case with what the reference makes of it.
struct Golden {
  QuantizeSpec spec;
  Case input;
  float amax = 0;
  BlockScaledTensor tensor{};
  Matrix dequant{};
};

constexpr float outside_amax = 7;  // below most inputs' own: block scales saturate

bool is_valid(const QuantizeSpec& spec) try {
  validate(spec);
  return true;
} catch (const std::invalid_argument&) {
  return false;
}

std::vector<QuantizeSpec> specs_of(const Dialect& dialect) {
  std::vector<QuantizeSpec> all(4, default_spec(dialect)), valid;
  all[1].tensor_scale = TensorScale::row;
  all[2].block = {16, 16};
  all[3].amax = outside_amax;
  for (const auto& [e4m3_max, select, fast] :
       {FourOverSix{448, Select::mse, true}, FourOverSix{256, Select::mae, true},
        FourOverSix{256, Select::mse}})
    all.push_back(all[0]), all.back().four_over_six = {e4m3_max, select, fast};
  for (const auto& [rule, map] :
       {std::pair{SrRule::carry, ByteMap::hw}, std::pair{SrRule::te_software, ByteMap::te}})
    all.push_back(all[0]),
        all.back().stochastic = Stochastic{.rule = rule, .map = map, .random = {.seed = 1}};
  for (const QuantizeSpec& spec : all)
    if (is_valid(spec)) valid.push_back(spec);
  return valid;
}

/// The quick level leaves out what two-byte inputs would only repeat, shapes and plain random numbers; and of
/// dialects that share te's steps, all but the packs that tell them apart.
bool is_worth(const Dialect& dialect, std::string_view pack, Dtype dtype, bool full) {
  const bool plain = pack == "ragged" || pack == "random";
  const bool first = dialect.name == "te" || dialect.name == "te_ref" || dialect.name == "paper";
  if (full || (first && dtype == Dtype::fp32)) return true;
  return !plain && (first || dtype == Dtype::fp32 || (dtype == Dtype::bf16 && pack == "nonfinite"));
}

void add_cases(const Dialect& dialect, Dtype dtype, std::uint64_t seed, bool full,
               std::vector<Golden>& golden) {
  bool own = true;  // the witnesses are made for each dialect's own spec
  for (const QuantizeSpec& spec : specs_of(dialect)) {
    for (const std::string_view pack : case_packs())
      if (is_worth(dialect, pack, dtype, full) && (own || full || pack != "witnesses"))
        for (Case& c : make_cases(pack, dtype, seed)) golden.push_back({spec, std::move(c)});
    own = false;
  }
}

std::vector<Golden> make_golden(const Dialect& dialect, std::uint64_t seed, bool full) {
  std::vector<Golden> golden;
  for (const Dtype dtype : {Dtype::fp32, Dtype::bf16, Dtype::fp16})
    add_cases(dialect, dtype, seed, full, golden);
  for (std::uint64_t more = 1; full && more < 4; ++more)
    add_cases(dialect, Dtype::fp32, seed + more, full, golden);
  parallel_for(golden.size(), [&](std::size_t i) {
    Golden& g = golden[i];
    g.amax = reference_kernels().amax(g.input.input.view(), *g.spec.dialect);
    g.tensor = reference_kernels().quantize(g.input.input.view(), g.spec, {});
    g.dequant = reference_kernels().dequantize(g.tensor);
  });
  return golden;
}

/// The element that byte (row, col) of an array belongs to.
std::int64_t element_col(const Golden& g, const Mismatch& m) {
  if (m.array == "packed") return 2 * m.col + ((m.expected ^ m.actual) & 15 ? 0 : 1);
  return m.array == "scales" ? m.col * g.spec.block.cols : m.col;
}

void explain(const Golden& g, const Mismatch& m, Json& json, std::string& text) {
  const std::string command =
      testing::explain_command(g.input.input.view(), g.spec, m.row, element_col(g, m));
  json.update({{"case", g.input.name},
               {"dtype", name(g.input.input.dtype)},
               {"block", block_name(g.spec.block)},
               {"array", m.array},
               {"row", m.row},
               {"col", m.col},
               {"expected", m.expected},
               {"actual", m.actual},
               {"explain", command}});
  text += "case " + g.input.name + " as " + std::string(name(g.input.input.dtype)) + ", blocks " +
          block_name(g.spec.block) + ": " + describe(m) + "; run: " + command;
}

Difference compare_amax(const Golden& g, float amax) {
  const auto expected = std::bit_cast<std::uint32_t>(g.amax), actual = std::bit_cast<std::uint32_t>(amax);
  if (expected == actual) return {};
  return {4, Mismatch{"global", 0, 0, expected, actual}};
}

void hold(const Golden& g, const Kernels& kernels, Tally& tally) {
  Difference sum;
  const auto add = [&](const Difference& d) {
    sum.bytes += d.bytes;
    if (!sum.first) sum.first = d.first;
  };
  add(compare_amax(g, kernels.amax(g.input.input.view(), *g.spec.dialect)));
  add(compare(g.tensor, kernels.quantize(g.input.input.view(), g.spec, {})));
  add(compare(g.dequant.view(), kernels.dequantize(g.tensor).view(), "dequant"));
  tally.count(sum.bytes, [&](Json& json, std::string& text) { explain(g, *sum.first, json, text); });
}

}  // namespace

void verify_dialect(const Dialect& dialect, const std::vector<Layer>& layers, Verification& v) {
  const std::vector<Golden> golden = make_golden(dialect, v.seed, v.full);
  for (const Layer& layer : layers) {
    Tally tally(v, std::string(dialect.name), layer);
    if (!layer.kernels) tally.not_run(golden.size());
    for (std::size_t i = 0; layer.kernels && i < golden.size(); ++i) hold(golden[i], *layer.kernels, tally);
  }
}

}  // namespace nvfp4::cli
