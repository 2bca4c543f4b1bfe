#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nvfp4/identify.hpp>
#include <nvfp4/io.hpp>
#include <nvfp4/producers.hpp>

#include "tests/program.hpp"

using namespace nvfp4;

namespace {

/// A result that a test changes, and what was quantized.
struct Output {
  Output(const QuantizeSpec& spec, std::int64_t rows, std::int64_t cols) : x(rows, cols) {
    std::mt19937 random(7);
    for (std::int64_t i = 0; i < rows * cols; ++i)
      x.f32()[i] = static_cast<float>(static_cast<std::int32_t>(random())) *
                   std::ldexp(1.f, -32 + static_cast<int>(random() % 4));
    const BlockScaledTensor t = cpu_kernels().quantize(x.view(), spec, {});
    codes = t.codes, scales = t.scales, global = t.global;
  }
  Identification identified() const { return identify(x.view(), {x.rows, codes, scales, global}); }
  Matrix x;
  std::vector<std::uint8_t> codes, scales;
  std::vector<float> global;
};

const Origin* match(const Identification& found, const Dialect& dialect) {
  for (const Origin& o : found.matches)
    if (o.spec.dialect == &dialect && !o.transposed && !o.rht) return &o;
  return nullptr;
}

Output modelopt() { return {default_spec(dialects::modelopt::info), 128, 256}; }

}  // namespace

TEST_CASE("identify: swapped nibbles and a swizzled layout and an inverted global, all at once") {
  Output out = modelopt();
  repack(out.codes, Packing::low_first, Packing::high_first);
  out.scales = to_layout(ScaleLayout::tiled_128x4, out.scales, 128, 16);
  out.global[0] = 1 / out.global[0];
  const Identification found = out.identified();
  const Origin* origin = match(found, dialects::modelopt::info);
  REQUIRE(origin);
  CHECK(origin->packing == Packing::high_first);
  CHECK(origin->layout == ScaleLayout::tiled_128x4);
  CHECK(origin->global == GlobalAs::inverted);
}

TEST_CASE("identify: padded layouts of a ragged matrix, and ggml's packing") {
  for (const ScaleLayout layout : scale_layouts()) {
    Output out(default_spec(dialects::vllm::info), 37, 52);
    out.scales = to_layout(layout, out.scales, 37, 4);
    repack(out.codes, Packing::low_first, Packing::ggml);
    const Identification found = out.identified();
    const Origin* origin = match(found, dialects::vllm::info);
    REQUIRE(origin);
    CHECK(origin->layout == layout);
    CHECK(origin->packing == Packing::ggml);
  }
}

TEST_CASE("identify: an amax stored as the decode scale") {
  Output out(default_spec(dialects::te::info), 64, 64);
  out.global[0] /= 2688;
  const Identification found = out.identified();
  const Origin* origin = match(found, dialects::te::info);
  REQUIRE(origin);
  CHECK(origin->global == GlobalAs::decode_scale);
}

TEST_CASE("identify: a transpose and a transform") {
  Output out(default_spec(dialects::te::info), 64, 64);
  const Matrix turned = transpose(out.x.view());
  const Matrix transformed = cpu_kernels().hadamard(turned.view(), {Signs::te, HadamardSum::fma_chain});
  const BlockScaledTensor t =
      cpu_kernels().quantize(transformed.view(), default_spec(dialects::te::info), {});
  const Identification found = identify(out.x.view(), {64, t.codes, t.scales, t.global});
  REQUIRE(!found.matches.empty());
  for (const Origin& o : found.matches) {
    CHECK(o.transposed);
    CHECK(o.rht == Signs::te);
  }
}

TEST_CASE("identify: a large tensor is sampled, and the verdict is of all its bytes") {
  Output out(default_spec(dialects::compressed_tensors::info), 4096, 256);
  CHECK(match(out.identified(), dialects::compressed_tensors::info));
  out.codes[2020 * 128 + 77] ^= 1;  // in no strip of the sample
  const Identification found = out.identified();
  CHECK(found.matches.empty());
  REQUIRE(found.nearest);
  CHECK(found.differing_bytes == 1);
  REQUIRE(found.first);
  CHECK(found.first->array == "packed");
  CHECK(found.first->row == 2020);
  CHECK(found.first->col == 77);
}

TEST_CASE("identify: noise is nobody's") {
  Output out = modelopt();
  std::uint32_t state = 1;
  for (auto* bytes : {&out.codes, &out.scales})
    for (std::uint8_t& byte : *bytes)
      byte = static_cast<std::uint8_t>((state = state * 1664525 + 1013904223) >> 24);
  const Identification found = out.identified();
  CHECK(found.matches.empty());
  CHECK(found.nearest);
  CHECK(found.differing_bytes > 1000);
}

TEST_CASE("identify: sizes of no dialect have no nearest") {
  Output out = modelopt();
  out.scales.pop_back();
  const Identification found = out.identified();
  CHECK(found.matches.empty());
  CHECK(!found.nearest);
}

TEST_CASE("identify: no dialect is excluded by its own output") {
  for (const Dialect* dialect : all_dialects()) {
    const Output out(default_spec(*dialect), 64, 128);
    for (const Exclusion& e : exclusions({64, out.codes, out.scales, out.global})) {
      CAPTURE(dialect->name);
      CAPTURE(e.why);
      CHECK(e.dialect != dialect);
    }
  }
}

TEST_CASE("identify: an output alone excludes what cannot have made it") {
  const auto excludes = [](const Output& out, const Dialect& dialect) {
    const auto all = exclusions({out.x.rows, out.codes, out.scales, out.global});
    return std::ranges::any_of(all, [&](const Exclusion& e) { return e.dialect == &dialect; });
  };
  const Output four(default_spec(dialects::fouroversix_static4::info), 64, 128);
  CHECK(excludes(four, dialects::te::info));  // its blocks end at code 4's
  const Output mx(default_spec(dialects::mxfp4_floor::info), 64, 128);
  CHECK(excludes(mx, dialects::te::info));
  const Output single(default_spec(dialects::mlx_single_level::info), 64, 128);
  CHECK(!excludes(single, dialects::torchao_single_level::info));
}

TEST_CASE("cli identify: every golden file is its producer's" * doctest::test_suite("golden sweep")) {
  const std::string folder = NVFP4_GOLDEN_DIR;
  for (const Producer& producer : producers()) {
    const std::string name(producer.name);
    CAPTURE(name);
    const auto json = program::json({"identify", "--packed", folder + "/" + name + "/fp32.npz", "--input",
                                     folder + "/inputs/inputs_fp32.npz"});
    std::vector<std::string> named;
    for (const auto& match : json.at("matches")) named.push_back(match.value("producer", ""));
    const bool twins =
        name == "compressed_tensors" || name == "llmcompressor";  // one's code calls the other's
    CHECK(named ==
          (twins ? std::vector<std::string>{"compressed_tensors", "llmcompressor"} : std::vector{name}));
  }
}

TEST_CASE("cli identify: two .npy files, one case of many, and the output alone") {
  const program::Quantized q(32, 64);
  const auto whole =
      program::json({"identify", "--packed", q.folder / "q.npz", "--input", q.folder / "x.npy"});
  CHECK(whole.at("matches").size() > 0);
  const std::string file = std::string(NVFP4_GOLDEN_DIR) + "/jax_quantize/bf16.npz";
  const auto one = program::run({"identify", "--packed", file, "--case", "normal", "--input",
                                 std::string(NVFP4_GOLDEN_DIR) + "/inputs/inputs_bf16.npz"});
  CHECK(one.exit_code == 0);
  CHECK(program::has(one.out, "jax (producer jax_quantize)"));
  const auto alone = program::json({"identify", "--packed", q.folder / "q.npz"});
  CHECK(alone.at("excluded").size() > 0);
  CHECK(alone.at("possible").dump().find("\"te\"") != std::string::npos);
}

TEST_CASE("cli dialects: the pairwise table of an input") {
  const program::Input x(32, 64);
  const auto json = program::json({"dialects", "--input", x.folder / "x.npy"});
  const std::size_t n = all_dialects().size();
  CHECK(json.at("pairs").size() == n * (n - 1) / 2);
  for (const auto& pair : json.at("pairs")) {
    CAPTURE(pair.dump());
    if (pair.at("a") == "mxfp4_floor" && pair.at("b") == "mxfp4_ceil") CHECK(pair.at("differing_bytes") > 0);
    if (pair.at("a") == "te" && pair.at("b") == "mxfp4_floor") CHECK(pair.at("differing_bytes").is_null());
    CHECK((pair.at("differing_values") == 0 || pair.at("example").is_array()));
  }
  CHECK(program::has(program::run({"dialects", "--input", x.folder / "x.npy"}).out, "alike: te"));
}

TEST_CASE("cli identify: refusals") {
  const program::Quantized q(32, 64);
  CHECK(program::has(program::refusal({"identify", "--packed", q.folder / "x.npy"}), "--scales"));
  CHECK(program::has(
      program::refusal({"identify", "--packed", q.folder / "x.npy", "--scales", q.folder / "x.npy"}),
      "elements of one byte"));
  const program::Input other(48, 16);
  CHECK(program::has(
      program::refusal({"identify", "--packed", q.folder / "q.npz", "--input", other.folder / "x.npy"}),
      "expected 48 rows"));
}
