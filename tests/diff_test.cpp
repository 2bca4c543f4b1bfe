#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nvfp4/diagnose.hpp>
#include <nvfp4/io.hpp>
#include <nvfp4/kernels.hpp>

#include "tests/program.hpp"

/// Each diagnosis, made from a report that somebody filed; the thread stands at the test.
using namespace nvfp4;

namespace {

std::vector<std::string> codes_of(const std::vector<Diagnosis>& causes) {
  std::vector<std::string> codes;
  for (const Diagnosis& cause : causes) codes.push_back(cause.code);
  return codes;
}

using Codes = std::vector<std::string>;

/// 128 x 256, some of its blocks zero.
struct Pair {
  explicit Pair(const QuantizeSpec& spec = default_spec(dialects::te::info), std::int64_t rows = 128,
                std::int64_t cols = 256)
      : x(rows, cols) {
    std::mt19937 random(11);
    for (std::int64_t i = 0; i < rows * cols; ++i)
      x.f32()[i] = i / 16 % 37 == 5 ? 0 : static_cast<float>(static_cast<std::int32_t>(random())) * 0x1p-30f;
    expected = actual = by(spec);
  }
  BlockScaledTensor by(const QuantizeSpec& spec) const { return cpu_kernels().quantize(x.view(), spec, {}); }
  Codes causes(bool with_input = false) const {
    return codes_of(diagnose(expected, {actual}, with_input ? x.view() : MatrixView{}));
  }
  std::int64_t zero_block() const {
    return std::find(expected.scales.begin(), expected.scales.end(), 0) - expected.scales.begin();
  }
  Matrix x;
  BlockScaledTensor expected, actual;
};

}  // namespace

TEST_CASE("diagnose: equal results need no cause") { CHECK(Pair().causes().empty()); }

TEST_CASE("diagnose: swapped nibbles (pytorch/ao#2939, comfy-kitchen#41)") {
  Pair pair;
  repack(pair.actual.codes, Packing::low_first, Packing::high_first);
  CHECK(pair.causes() == Codes{"swapped_nibbles"});
  pair.actual.codes = pair.expected.codes;
  repack(pair.actual.codes, Packing::low_first, Packing::ggml);
  CHECK(pair.causes() == Codes{"swapped_nibbles"});
}

TEST_CASE("diagnose: 128x4 scales read as linear and linear ones as 128x4 (vllm#50084, modular#6600)") {
  Pair pair;
  pair.actual.scales = to_layout(ScaleLayout::tiled_128x4, pair.expected.scales, 128, 16);
  CHECK(pair.causes() == Codes{"scale_layout"});
  pair.actual.scales = from_layout(ScaleLayout::tiled_128x4, pair.expected.scales, 128, 16);
  CHECK(pair.causes() == Codes{"scale_layout"});
}

TEST_CASE("diagnose: a global that was not given is not a difference") {
  Pair pair;
  pair.actual.global.clear();
  CHECK(pair.causes().empty());
  repack(pair.actual.codes, Packing::low_first, Packing::high_first);
  CHECK(pair.causes() == Codes{"swapped_nibbles"});
}

TEST_CASE("diagnose: an inverted global, beside a wrong layout too (modular#6600)") {
  Pair pair(default_spec(dialects::compressed_tensors::info));
  pair.actual.global[0] = 1 / pair.actual.global[0];
  CHECK(pair.causes() == Codes{"global_inverted"});
  pair.actual.scales = to_layout(ScaleLayout::tiled_128x4, pair.expected.scales, 128, 16);
  CHECK(pair.causes() == Codes{"scale_layout", "global_inverted"});
}

TEST_CASE("diagnose: a global multiplied in twice (vllm#35733)") {
  Pair pair(default_spec(dialects::modelopt::info));
  pair.actual.global[0] *= pair.actual.global[0];
  CHECK(pair.causes() == Codes{"global_inverted"});
}

TEST_CASE("diagnose: padding only (vllm#31097, TensorRT-LLM#10148)") {
  Pair pair(default_spec(dialects::te::info), 40, 52);
  pair.actual.codes[static_cast<std::size_t>(pair.actual.row_bytes() - 1)] = 0x33;
  CHECK(pair.causes() == Codes{"padding_only"});
  pair.actual = pair.expected;
  auto stored = to_layout(ScaleLayout::tiled_128x4, pair.expected.scales, 40, 4);
  stored.back() = 0x38;
  CHECK(codes_of(diagnose(pair.expected, {pair.actual, stored, ScaleLayout::tiled_128x4})) ==
        Codes{"padding_only"});
}

TEST_CASE("diagnose: codes under a zero scale, and what a zero block stores (pytorch/ao#4598)") {
  Pair pair;
  pair.actual.codes[static_cast<std::size_t>(8 * pair.zero_block())] = 0x77;
  CHECK(pair.causes() == Codes{"inert_codes"});
  pair.actual = pair.expected;
  pair.actual.scales[static_cast<std::size_t>(pair.zero_block())] = 0x38;
  CHECK(pair.causes() == Codes{"zero_blocks"});
}

TEST_CASE("diagnose: -0 for +0 (flashinfer#3448)") {
  Pair pair;
  for (std::size_t i = 0; i < pair.actual.codes.size(); ++i)
    if (pair.expected.scales[i / 8] && (pair.expected.codes[i] & 15) == 8) pair.actual.codes[i] &= 0xF0;
  CHECK(pair.causes() == Codes{"minus_zero"});
}

TEST_CASE("diagnose: ties only, and not a code further (arch-com#905)") {
  Pair pair;
  pair.x = Matrix(16, 64);
  for (int i = 0; i < 16 * 64; ++i)
    pair.x.f32()[i] =
        i % 16 == 0 ? 6.f : std::nextafter(static_cast<float>(i % 5 / 2.0 + 0.25), i % 2 ? 9.f : 0.f);
  QuantizeSpec spec = default_spec(dialects::te::info);
  spec.amax = 2688.f;
  pair.expected = pair.actual = pair.by(spec);
  int moved = 0;
  for (int i = 1; i < 16 * 64; i += 2)
    if (i % 16 && i % 5 / 2.0 + 0.25 == 1.25) {  // one ulp above the midpoint of codes 2 and 3
      std::uint8_t& byte = pair.actual.codes[static_cast<std::size_t>(i / 2)];
      CHECK((byte & 0xF0) == 0x30);
      byte = static_cast<std::uint8_t>((byte & 15) | 2 << 4);
      ++moved;
    }
  CHECK(moved > 0);
  CHECK(pair.causes(true) == Codes{"ties_only"});
  CHECK(pair.causes() == Codes{"ties_only"});
  pair.actual.codes[0] =
      static_cast<std::uint8_t>((pair.actual.codes[0] & 0xF0) | 6);  // 4 for 6: a neighbour, no tie
  CHECK(pair.causes(true).empty());
  pair.actual.codes[0] = static_cast<std::uint8_t>((pair.actual.codes[0] & 0xF0) | 1);
  CHECK(pair.causes().empty());
}

TEST_CASE("diagnose: another dialect, block or orientation is named by trying (miles#1261)") {
  Pair pair;
  pair.actual = pair.by(default_spec(dialects::ggml::info));
  pair.actual.spec = pair.expected.spec;
  pair.actual.global = pair.expected.global;
  CHECK(pair.causes(true).empty());  // ggml keeps no global: with te's it is nobody's
  pair.actual = pair.by(default_spec(dialects::jax::info));
  pair.actual.spec = pair.expected.spec;
  const auto other = diagnose(pair.expected, {pair.actual}, pair.x.view());
  REQUIRE(!other.empty());
  CHECK(other.front().code == "other_dialect");
  CHECK(program::has(other.front().text, "jax"));
  pair.actual = pair.by({.dialect = &dialects::te::info, .block = {16, 16}});
  pair.actual.spec = pair.expected.spec;
  CHECK(pair.causes(true) == Codes{"other_block"});
}

TEST_CASE("diagnose: a transpose") {
  Pair square(default_spec(dialects::te::info), 64, 64);
  square.actual = cpu_kernels().quantize(transpose(square.x.view()).view(), square.expected.spec, {});
  CHECK(square.causes(true) == Codes{"transposed"});
  Pair tiles({.dialect = &dialects::te::info, .block = {16, 16}}, 64, 64);
  tiles.actual = cpu_kernels().quantize(transpose(tiles.x.view()).view(), tiles.expected.spec, {});
  CHECK(tiles.causes() == Codes{"transposed"});
}

TEST_CASE("diagnose: noise has no cause") {
  Pair pair;
  std::mt19937 random(5);
  for (std::uint8_t& code : pair.actual.codes) code = static_cast<std::uint8_t>(random());
  CHECK(pair.causes().empty());
  CHECK(pair.causes(true).empty());
}

TEST_CASE("cli diff: equal, another dialect by its manifest, another shape") {
  const program::Quantized q(64, 64);
  CHECK(program::run({"diff", q.folder / "q.npz", q.folder / "q.npz"}).exit_code == 0);
  using program::operator+;
  REQUIRE(program::run(q.quantize("jax.npz") + program::Arguments{"--dialect", "jax"}).exit_code == 0);
  const program::Ran ran = program::run({"diff", q.folder / "q.npz", q.folder / "jax.npz", "--json"});
  CHECK(ran.exit_code == 1);
  const auto json = program::json_of(ran);
  CHECK(json.at("equal") == false);
  CHECK(json.at("differing_bytes") > 0);
  CHECK(json.at("first").is_object());
  CHECK(json.at("diagnosis").at(0).at("code") == "other_dialect");
  REQUIRE(program::run(q.quantize("t.npz") + program::Arguments{"--block", "16x16"}).exit_code == 0);
  CHECK(program::json_of(program::run({"diff", q.folder / "q.npz", q.folder / "t.npz", "--json"}))
            .at("diagnosis")
            .at(0)
            .at("code") == "other_block");
  REQUIRE(program::run(q.quantize("r.npz") + program::Arguments{"--tensor-scale", "row"}).exit_code == 0);
  const auto rows = program::run({"diff", q.folder / "q.npz", q.folder / "r.npz"});
  CHECK(rows.exit_code == 1);
  CHECK(program::has(rows.out, "a tensor scale for each row"));
  const program::Quantized wide(64, 80);
  CHECK(program::has(program::run({"diff", q.folder / "q.npz", wide.folder / "q.npz"}).out,
                     "sizes: expected 64 x 64"));
}

TEST_CASE("cli diff: arrays without a manifest, their scales swizzled into a padded size") {
  const program::Quantized q(37, 52);
  const io::QuantizedFile file = io::read_quantized(q.folder / "q.npz");
  const BlockScaledTensor& t = file.rows;
  const auto scales = to_layout(ScaleLayout::tiled_128x4, t.scales, t.rows, t.blocks_per_row());
  const std::vector<io::ArrayView> arrays{
      {{"packed", io::ElementType::u8, {37, t.row_bytes()}}, std::as_bytes(std::span(t.codes))},
      {{"scales", io::ElementType::u8, {128, 4}}, std::as_bytes(std::span(scales))}};
  io::write_npz(q.folder / "theirs.npz", arrays, io::Overwrite::no);
  const auto json = program::json({"diff", q.folder / "q.npz", q.folder / "theirs.npz"});
  CHECK(json.at("diagnosis").at(0).at("code") == "scale_layout");
}

TEST_CASE("cli diff: arrays of another size, and refusals") {
  const program::Quantized q(64, 64);
  const std::vector<std::uint8_t> few(16 * 8, 0x11);
  const std::vector<io::ArrayView> arrays{
      {{"packed", io::ElementType::u8, {16, 8}}, std::as_bytes(std::span(few))},
      {{"scales", io::ElementType::u8, {16, 1}}, std::as_bytes(std::span(few).first(16))}};
  io::write_npz(q.folder / "few.npz", arrays, io::Overwrite::no);
  const program::Ran ran = program::run({"diff", q.folder / "q.npz", q.folder / "few.npz"});
  CHECK(ran.exit_code == 1);
  CHECK(program::has(ran.out,
                     "sizes: expected 64 x 64, 256 scales, 1 tensor scales, found 16 x 16, 16 scales"));
  CHECK(program::has(program::refusal({"diff", q.folder / "q.npz", q.folder / "x.npy"}), "packed"));
  const program::Input other(48, 16);
  CHECK(program::has(
      program::refusal({"diff", q.folder / "q.npz", q.folder / "q.npz", "--input", other.folder / "x.npy"}),
      "expected the shape of"));
}
