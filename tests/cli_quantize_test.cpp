#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>

#include <nvfp4/io.hpp>
#include <nvfp4/nvfp4.hpp>

#include "tests/program.hpp"

/// `nvfp4 quantize` and `nvfp4 dequantize`, as scripts call them.
using namespace nvfp4;
using program::Arguments;
using program::has;
using program::Input;
using program::operator+;
using program::refusal;
using program::run;
using scratch::slurp;
using scratch::spill;
using Json = nlohmann::json;

namespace {

const std::string files = NVFP4_GOLDEN_DIR "/files/";

void check_equal(const BlockScaledTensor& expected, const BlockScaledTensor& actual) {
  CHECK((expected.codes == actual.codes));
  CHECK((expected.scales == actual.scales));
  CHECK((expected.global == actual.global));
}

}  // namespace

TEST_CASE("cli quantize: the reference's bytes under the contract's names") {
  const Input in(37, 52);
  const Json json = program::json(in.quantize());
  CHECK(json.value("rows", 0) == 37);
  CHECK(json.value("cols", 0) == 52);
  CHECK(json.value("dialect", "") == "te");
  const auto file = io::open_arrays(in.folder / "q.npz");
  CHECK(file->names() == std::vector<std::string>{"packed", "scales", "global", "manifest"});
  CHECK(file->info("packed").shape == std::vector<std::int64_t>{37, 32});
  CHECK(file->info("scales").shape == std::vector<std::int64_t>{37, 4});
  CHECK(file->info("global").shape == std::vector<std::int64_t>{1});
  check_equal(reference_kernels().quantize(in.x.view(), {}, {}), io::read_quantized(*file).rows);
}

TEST_CASE("cli quantize: each option reaches the bytes") {
  const Input in(32, 48);
  const QuantizeSpec te{};
  QuantizeSpec rows = te, squares = te, outside = te, reference = te;
  rows.tensor_scale = TensorScale::row;
  squares.block = {16, 16};
  outside.amax = 7.0f;
  reference.dialect = find_dialect("te_ref");
  const auto quantized = [&](const Arguments& options) {
    CHECK(run(in.quantize() + options + Arguments{"--force"}).exit_code == 0);
    return io::read_quantized(in.folder / "q.npz");
  };
  const auto expected = [&](MatrixView x, const QuantizeSpec& spec) {
    return reference_kernels().quantize(x, spec, {});
  };
  check_equal(expected(in.x.view(), rows), quantized({"--tensor-scale", "row"}).rows);
  check_equal(expected(in.x.view(), squares), quantized({"--block", "16x16"}).rows);
  check_equal(expected(in.x.view(), outside), quantized({"--tensor-amax", "7"}).rows);
  check_equal(expected(in.x.view(), reference), quantized({"--dialect", "te_ref"}).rows);
  const Matrix turned = transpose(in.x.view());
  check_equal(expected(turned.view(), te), quantized({"--transpose"}).rows);
  const io::QuantizedFile both = quantized({"--columns"});
  REQUIRE(both.columns.has_value());
  check_equal(expected(turned.view(), te), *both.columns);
  CHECK(quantized({"--layout", "128x4"}).layout == ScaleLayout::tiled_128x4);
  CHECK(io::open_arrays(in.folder / "q.npz")->contains("scales_swizzled"));
}

TEST_CASE("cli quantize: the same bytes however it is run") {
  const Input in(301, 200);
  REQUIRE(run(in.quantize()).exit_code == 0);
  const std::string bytes = slurp(in.folder / "q.npz");
  for (const Arguments& how :
       {Arguments{}, {"--threads", "1"}, {"--threads", "2"}, {"--threads", "7"}, {"--device", "reference"}}) {
    CHECK(run(in.quantize("again.npz") + how + Arguments{"--force"}).exit_code == 0);
    CHECK((slurp(in.folder / "again.npz") == bytes));
  }
  CHECK(!has(bytes, in.folder / ""));
  CHECK(run(in.quantize("q.safetensors")).exit_code == 0);
  check_equal(io::read_quantized(in.folder / "q.npz").rows,
              io::read_quantized(in.folder / "q.safetensors").rows);
}

TEST_CASE("cli quantize: inputs that it cannot read") {
  const scratch::Folder folder;
  const auto refused = [&](const std::string& in, const Arguments& more = {}) {
    return refusal(Arguments{"quantize", in, "-o", folder / "q.npz"} + more);
  };
  CHECK(has(refused(files + "rank_1.npy"), "rank_1.npy: array: expected 2 or more dimensions"));
  CHECK(has(refused(files + "type_f8.npy"), "float64: round it once, with astype(float32)"));
  CHECK(has(refused(files + "objects.npy"), "objects.npy"));
  CHECK(has(refused(files + "stored.npz", {"--array", "nope"}), "'nope'"));
  CHECK(has(refused(folder / "none.npy"), "none.npy"));
  CHECK(has(refused(files + "type_f4.npy", {"--input-dtype", "nope"}), "'nope'"));
  spill(folder / "cut.npy", slurp(files + "type_f4.npy").substr(0, 100));
  CHECK(has(refused(folder / "cut.npy"), "cut.npy: byte 8"));
  CHECK(folder.entries() == 1);
}

TEST_CASE("cli quantize: options that are unknown or not built or contradict") {
  const Input in(16, 32);
  const auto refused = [&](const Arguments& options) { return refusal(in.quantize() + options); };
  CHECK(has(refused({"--dialect", "nope"}), "unknown dialect 'nope': expected one of te"));
  CHECK(has(refused({"--producer", "nope"}), "unknown producer 'nope': expected one of te_ref_1d"));
  CHECK(has(refused({"--rounding", "up"}), "--rounding up: expected rne or sr"));
  CHECK(has(refused({"--dialect", "vllm", "--rounding", "sr"}), "vllm has no stochastic rounding"));
  CHECK(has(refused({"--random-map", "cuda"}), "--random-map cuda: expected hw or te"));
  CHECK(has(refused({"--sr-rule", "tetrajet"}), "--sr-rule tetrajet: expected carry or te_software"));
  CHECK(has(refused({"--rht", "12"}), "--rht 12: a Hadamard transform of 12: expected 2, 4, 8"));
  CHECK(has(refused({"--rht", "32"}), "--rht 32: a Hadamard transform of 32 has no signs of te"));
  CHECK(has(refused({"--rht", "64", "--rht-signs", "none"}), "needs columns in multiples of 64"));
  CHECK(has(refused({"--rht-signs", "nope"}), "--rht-signs nope: expected te, none or seed"));
  CHECK(has(refused({"--seed", "-1"}), "--seed"));
  CHECK(has(refused({"--random-words", "w.npy"}), "--random-words"));
  CHECK(has(refused({"--block", "1x32"}), "1x16 or 16x16"));
  CHECK(has(refused({"--tensor-scale", "block"}), "--tensor-scale block"));
  CHECK(has(refused({"--tensor-amax", "nan"}), "tensor amax"));
  CHECK(has(refused({"--layout", "nope"}), "--layout nope"));
  CHECK(has(refused({"--producer", "te_ref_1d", "--block", "16x16"}), "--block"));
  CHECK(has(refused({"--format", "onnx"}), "checkpoint format onnx"));
  CHECK(has(refused({"--include", "*"}), "--format"));
  CHECK(has(refusal({"quantize", in.folder / "x.npy"}), "--output"));
  CHECK(in.folder.entries() == 1);
}

TEST_CASE(
    "cli quantize: a transform is in the bytes and in the manifest, and refused where nothing would do it") {
  const Input in(16, 32);
  REQUIRE(run(in.quantize("plain.npz")).exit_code == 0);
  REQUIRE(run(in.quantize("rht.npz") + Arguments{"--rht", "16"}).exit_code == 0);
  const auto plain = nvfp4::io::read_quantized(in.folder / "plain.npz");
  const auto rht = nvfp4::io::read_quantized(in.folder / "rht.npz");
  CHECK((plain.rows.codes != rht.rows.codes));
  CHECK((rht.options.at("rht") == nvfp4::io::Option(std::int64_t{16})));
  CHECK((rht.options.at("rht_signs") == nvfp4::io::Option(std::string("te"))));
  CHECK(plain.options.empty());
  const Arguments seeded = {"--rht", "32", "--rht-signs", "seed", "--seed", "7"};
  const auto ran = run(in.quantize("seeded.npz") + seeded + Arguments{"--json"});
  REQUIRE(ran.exit_code == 0);
  CHECK(has(ran.out, "\"rht\": 32"));
  CHECK(has(ran.out, "\"rht_signs\": \"seed\""));
  CHECK(has(ran.out, "\"seed\": 7"));
  const auto drawn = nvfp4::io::read_quantized(in.folder / "seeded.npz");
  CHECK((drawn.options.at("rht") == nvfp4::io::Option(std::int64_t{32})));
  CHECK((drawn.options.at("rht_signs") == nvfp4::io::Option(std::string("seed"))));
  CHECK(drawn.provenance.seed == 7);
  for (const char* beside : {"--experts", "--format"}) {
    Arguments options{"--rht", "16", beside};
    if (beside == std::string("--format")) options.push_back("modelopt");
    CHECK(has(refusal(in.quantize("no.npz") + options), "--rht"));
  }
}

TEST_CASE("cli quantize: stochastic rounding by a seed or by the caller's words") {
  const Input in(37, 52);
  const Arguments sr{"--rounding", "sr", "--seed", "5"};
  REQUIRE(run(in.quantize("a.npz") + sr).exit_code == 0);
  for (const Arguments& how : {Arguments{"--threads", "1"}, {"--threads", "7"}, {"--device", "reference"}}) {
    REQUIRE(run(in.quantize("b.npz") + sr + how + Arguments{"--force"}).exit_code == 0);
    CHECK((slurp(in.folder / "a.npz") == slurp(in.folder / "b.npz")));
  }
  const auto drawn = io::read_quantized(in.folder / "a.npz");
  CHECK(drawn.rows.spec.stochastic->random.seed == 5);
  REQUIRE(run(in.quantize("c.npz") + Arguments{"--rounding", "sr"}).exit_code == 0);
  CHECK((drawn.rows.codes != io::read_quantized(in.folder / "c.npz").rows.codes));

  std::vector<std::uint32_t> words;
  for (std::int64_t i = 0; i < 37; ++i)
    for (std::int64_t b = 0; b < 4; ++b)
      for (const std::uint32_t word : draw({.seed = 5}, i, b)) words.push_back(word);
  io::write_npy(in.folder / "w.npy", {{"", io::ElementType::u32, {37, 16}}, std::as_bytes(std::span(words))},
                io::Overwrite::no);
  const Arguments given{"--rounding", "sr", "--random-words", in.folder / "w.npy"};
  REQUIRE(run(in.quantize("d.npz") + given).exit_code == 0);
  const auto by_words = io::read_quantized(in.folder / "d.npz");
  CHECK((by_words.rows.codes == drawn.rows.codes));
  CHECK(by_words.rows.spec.stochastic->from_caller);
  REQUIRE(run(in.quantize("e.npz") + given + Arguments{"--random-map", "te"}).exit_code == 0);
  CHECK((io::read_quantized(in.folder / "e.npz").rows.codes != drawn.rows.codes));
  CHECK(has(refusal(in.quantize("f.npz") + given + Arguments{"--transpose"}),
            "w.npy: array: expected uint32 (52, 12)"));
  CHECK(has(refusal(in.quantize("f.npz") + Arguments{"--random-words", "w.npy"}),
            "--random-words needs --rounding sr"));
  CHECK(has(refusal(in.quantize("f.npz") + given + Arguments{"--columns"}), "--random-words"));
}

TEST_CASE("cli quantize: with the words that a kernel of Transformer Engine draws") {
  const Input in(64, 128);
  const Arguments te{"--rounding", "sr", "--random-map", "te",
                     "--seed",     "5",  "--te-kernel",  "tuned_1d_rowwise"};
  REQUIRE(run(in.quantize("a.npz") + te + Arguments{"--te-offset", "1024"}).exit_code == 0);
  const auto made = io::read_quantized(in.folder / "a.npz");
  const auto words = te_random_words(*find_te_random_map("tuned_1d_rowwise"), 64, 128, 5, 1024);
  QuantizeSpec spec = default_spec(dialects::te::info);
  spec.stochastic =
      Stochastic{.rule = SrRule::te_software, .map = ByteMap::te, .from_caller = true, .words = words};
  CHECK(compare(reference_kernels().quantize(in.x.view(), spec, {}), made.rows).equal());
  CHECK((made.options.at("te_kernel") == nvfp4::io::Option(std::string("tuned_1d_rowwise"))));
  REQUIRE(run(in.quantize("b.npz") + te).exit_code == 0);
  CHECK((io::read_quantized(in.folder / "b.npz").rows.codes != made.rows.codes));
  CHECK(has(refusal(in.quantize("c.npz") + te + Arguments{"--transpose", "--te-kernel", "nope"}),
            "--te-kernel"));
  const Input odd(37, 52);
  CHECK(has(refusal(odd.quantize("c.npz") + te), "x.npy: --te-kernel tuned_1d_rowwise"));
}

TEST_CASE("cli quantize: what a producer refuses") {
  const Input in(37, 52);
  CHECK(has(refusal(in.quantize() + Arguments{"--producer", "te_ref_2d"}), "x.npy"));
  CHECK(in.folder.entries() == 1);
}

TEST_CASE("cli quantize: a checkpoint") {
  const Input in(32, 64);
  const std::vector<float> bias(32, 1.0f);
  const std::vector<io::ArrayView> arrays = {
      {{"a.weight", io::ElementType::f32, {32, 64}}, std::as_bytes(std::span(in.x.f32(), 32 * 64))},
      {{"a.bias", io::ElementType::f32, {32}}, std::as_bytes(std::span(bias))}};
  io::write_safetensors(in.folder / "m.safetensors", arrays, io::Overwrite::no);
  const Arguments quantize = {"quantize", in.folder / "m.safetensors", "--format", "modelopt",
                              "-o",       in.folder / "o.safetensors"};
  const Json json = program::json(quantize);
  CHECK(json.value("quantized", -1) == 1);
  CHECK(json.value("copied", -1) == 1);
  const Json tensors = program::json({"inspect", in.folder / "o.safetensors"}).at("tensors");
  CHECK(std::any_of(tensors.begin(), tensors.end(),
                    [](const Json& t) { return t.at("format") == "nvfp4 (modelopt)"; }));
  const std::string bytes = slurp(in.folder / "o.safetensors");
  CHECK(has(refusal(quantize), "o.safetensors"));
  for (const std::string threads : {"1", "7"}) {
    CHECK(run(quantize + Arguments{"--force", "--threads", threads}).exit_code == 0);
    CHECK((slurp(in.folder / "o.safetensors") == bytes));
  }
  CHECK(has(refusal(quantize + Arguments{"--force", "--transpose"}), "--transpose"));
  CHECK(has(refusal(quantize + Arguments{"--force", "--rounding", "sr"}), "--rounding is for one matrix"));
}

TEST_CASE("cli dequantize: the reference's values") {
  const Input in(37, 52);
  REQUIRE(run(in.quantize()).exit_code == 0);
  const Matrix expected = reference_kernels().dequantize(io::read_quantized(in.folder / "q.npz").rows);
  const auto dequantize = [&](const std::string& out, const Arguments& more = {}) {
    return Arguments{"dequantize", in.folder / "q.npz", "-o", in.folder / out} + more;
  };
  CHECK(program::json(dequantize("y.npy")).value("dtype", "") == name(Dtype::fp32));
  CHECK((io::load_matrix(in.folder / "y.npy").bytes == expected.bytes));
  for (const Arguments& how : {Arguments{"--threads", "1"}, {"--threads", "7"}, {"--device", "reference"}}) {
    CHECK(run(dequantize("z.npy", how + Arguments{"--force"})).exit_code == 0);
    CHECK((slurp(in.folder / "z.npy") == slurp(in.folder / "y.npy")));
  }
  CHECK(run(dequantize("h.npy", {"--out-dtype", "float16"})).exit_code == 0);
  CHECK(io::load_matrix(in.folder / "h.npy").dtype == Dtype::fp16);
  CHECK(run(dequantize("b.npy", {"--out-dtype", "bf16"})).exit_code == 0);
  const Matrix bf16 = io::load_matrix(in.folder / "b.npy", {.input_dtype = Dtype::bf16});
  for (std::int64_t i = 0; i < 37 * 52;
       ++i) {  // a code of 2 bits times scales: BF16 rounds only at its 8 bits
    const float widened = std::bit_cast<float>(static_cast<std::uint32_t>(bf16.u16()[i]) << 16);
    CHECK(std::fabs(widened - expected.f32()[i]) <= std::ldexp(std::fabs(expected.f32()[i]), -8));
  }
}

TEST_CASE("cli dequantize: refusals") {
  const Input in(16, 32);
  REQUIRE(run(in.quantize()).exit_code == 0);
  const auto refused = [&](const std::string& file, const Arguments& more = {}) {
    return refusal(Arguments{"dequantize", in.folder / file, "-o", in.folder / "y.npy"} + more);
  };
  CHECK(has(refused("q.npz", {"--out-dtype", "float8"}), "float8"));
  CHECK(has(refused("x.npy"), "x.npy: array 'manifest'"));
  CHECK(has(refused("none.npz"), "none.npz"));
  spill(in.folder / "cut.npz", slurp(in.folder / "q.npz").substr(0, 500));
  CHECK(has(refused("cut.npz"), "cut.npz"));
  CHECK(has(refused("q.npz", {"--nope"}), "--nope"));
  CHECK(!std::filesystem::exists(in.folder / "y.npy"));
}
