#include <doctest/doctest.h>

#include <bit>
#include <filesystem>

#include <nvfp4/io.hpp>
#include <nvfp4/nvfp4.hpp>

#include "tests/gaussian.hpp"
#include "tests/gpu.hpp"
#include "tests/program.hpp"

/// `nvfp4 gemm`, as scripts call it.
using namespace nvfp4;
using program::Arguments;
using program::has;
using program::operator+;
using program::refusal;
using program::run;
using scratch::slurp;
using scratch::spill;
using Json = nlohmann::json;

namespace {

/// a.npz (5 x 200) and b.npz (7 x 200), made by `nvfp4 quantize` with these options, and c.npy, bias.npy.
struct Pair {
  scratch::Folder folder;
  Matrix c = gaussian::matrix(5, 7, 3), bias = gaussian::matrix(1, 7, 4);

  explicit Pair(const Arguments& a_options = {}, const Arguments& b_options = {}) {
    make("a", gaussian::matrix(5, 200, 1), a_options);
    make("b", gaussian::matrix(7, 200, 2), b_options);
    io::write_matrix(folder / "c.npy", c.view(), io::Overwrite::no);
    io::write_matrix(folder / "bias.npy", bias.view(), io::Overwrite::no);
  }
  void make(const std::string& name, const Matrix& x, const Arguments& options) const {
    io::write_matrix(folder / (name + ".npy"), x.view(), io::Overwrite::no);
    REQUIRE(run(Arguments{"quantize", folder / (name + ".npy"), "-o", folder / (name + ".npz")} + options)
                .exit_code == 0);
  }
  BlockScaledTensor tensor(const std::string& name) const {
    return io::read_quantized(folder / (name + ".npz")).rows;
  }
  Arguments command(const std::string& out = "d.npy") const {
    return {"gemm", folder / "a.npz", folder / "b.npz", "-o", folder / out};
  }
  /// Through the program with more options, and by the reference with this spec: the same bytes.
  void check(const Arguments& options, const GemmSpec& spec, const char* model) const {
    CAPTURE(Json(options).dump());
    REQUIRE(run(command() + options + Arguments{"--force"}).exit_code == 0);
    const Matrix expected =
        gemm(tensor("a"), tensor("b"), *find_accumulation(model), spec, reference_kernels());
    CHECK((io::load_matrix(folder / "d.npy").bytes == expected.bytes));
  }
};

}  // namespace

TEST_CASE("cli gemm: D by default is the dialect's own, by its own accumulation") {
  struct Own {
    const char *dialect, *model;
  };
  for (const Own& own : {Own{"te", "sm100_nvfp4"},
                         {"cutlass_epilogue", "sm100_nvfp4"},
                         {"torchao", "sm100_nvfp4"},
                         {"mxfp4_ceil", "sm100_mxfp4"},
                         {"mxfp8_floor", "sm100_mxf8f6f4"}}) {
    CAPTURE(own.dialect);
    const Pair pair({"--dialect", own.dialect}, {"--dialect", own.dialect});
    pair.check({}, {.scaling = output_scaling(pair.tensor("a"), pair.tensor("b"))}, own.model);
    CHECK(program::json(pair.command() + Arguments{"--force"}).value("accumulate", "") == own.model);
  }
}

TEST_CASE("cli gemm: te's alpha is ((1 * Ga) * Gb) * FP32(1 / 2688^2)") {
  const Pair pair;
  const float alpha = pair.tensor("a").global[0] * pair.tensor("b").global[0] * (1 / (2688.f * 2688.f));
  const Json json = program::json(pair.command());
  CHECK(json.at("alpha").get<float>() == alpha);
  CHECK(json.at("rows") == 5);
  CHECK(json.at("cols") == 7);
  CHECK(json.at("k") == 200);
  CHECK(has(json.value("evidence", ""), "published models"));
  CHECK_FALSE(json.at("row_globals").get<bool>());
}

TEST_CASE("cli gemm: every option is the library's") {
  const Pair pair({"--tensor-scale", "row"});
  const BlockScaledTensor a = pair.tensor("a"), b = pair.tensor("b");
  const OutputScaling own = output_scaling(a, b);
  const Accumulation& model = *find_accumulation("sm100_nvfp4");
  REQUIRE(own.rows.size() == 5);
  GemmSpec replaced{.scaling = own}, all{.scaling = own};
  replaced.scaling.alpha = 0.1f;
  all.cuts = split_k(a, model, 2), all.c = pair.c, all.beta = -1.7f;
  all.bias.assign(pair.bias.f32(), pair.bias.f32() + 7);
  const std::string c = pair.folder / "c.npy", bias = pair.folder / "bias.npy";
  pair.check({}, {.scaling = own}, "sm100_nvfp4");
  pair.check({"--alpha", "0.1"}, replaced, "sm100_nvfp4");
  pair.check({"--no-globals"}, {}, "sm100_nvfp4");
  pair.check({"--no-globals", "--alpha", "0.1"}, {.scaling = {.alpha = 0.1f}}, "sm100_nvfp4");
  pair.check({"--accumulate", "exact"}, {.scaling = own}, "exact");
  pair.check({"--split-k", "3"}, {.scaling = own, .cuts = split_k(a, model, 3)}, "sm100_nvfp4");
  pair.check({"--split-k", "1"}, {.scaling = own}, "sm100_nvfp4");
  pair.check({"--c", c}, {.scaling = own, .c = pair.c}, "sm100_nvfp4");
  pair.check({"--c", c, "--beta", "-1.7", "--bias", bias, "--split-k", "2"}, all, "sm100_nvfp4");
  CHECK(program::json(pair.command() + Arguments{"--split-k", "2", "--force"}).at("cuts") == Json{128});
}

TEST_CASE("cli gemm: the same bytes for any number of threads, either device, and into any container") {
  const Pair pair;
  REQUIRE(run(pair.command()).exit_code == 0);
  const std::string bytes = slurp(pair.folder / "d.npy");
  for (const Arguments& how : {Arguments{"--threads", "1"}, {"--threads", "7"}, {"--device", "reference"}}) {
    REQUIRE(run(pair.command("e.npy") + how + Arguments{"--force"}).exit_code == 0);
    CHECK((slurp(pair.folder / "e.npy") == bytes));
  }
  CHECK((run({"gemm", pair.folder / "a.npz", pair.folder / "b.npz", "-o", "-"}).out == bytes));
  const Matrix d = io::load_matrix(pair.folder / "d.npy");
  for (const std::string name : {"d.npz", "d.safetensors"}) {
    REQUIRE(run(pair.command(name)).exit_code == 0);
    CHECK((io::load_matrix(pair.folder / name).bytes == d.bytes));
  }
  for (const auto& [option, dtype] : {std::pair{"bf16", Dtype::bf16}, {"float16", Dtype::fp16}}) {
    REQUIRE(run(pair.command("h.safetensors") + Arguments{"--out-dtype", option, "--force"}).exit_code == 0);
    CHECK((io::load_matrix(pair.folder / "h.safetensors").bytes ==
           converted(d.view(), dtype, reference_kernels()).bytes));
  }
}

TEST_CASE("cli gemm: D quantized again is D quantized by the dialect, and says what it was made from") {
  const Pair pair;
  const std::string c = pair.folder / "c.npy", out = pair.folder / "q.npz";
  const Arguments product = {"--c", c, "--beta", "0.5", "--split-k", "2"};
  REQUIRE(run(pair.command() + product).exit_code == 0);
  const Matrix d = io::load_matrix(pair.folder / "d.npy");
  QuantizeSpec norm{.dialect = &dialects::cutlass_epilogue::info, .amax = 2.f};
  QuantizeSpec rows{.dialect = &dialects::te::info, .tensor_scale = TensorScale::row};
  struct Case {
    Arguments options;
    QuantizeSpec spec;
  };
  const std::vector<Case> all = {
      {{"--out-dialect", "cutlass_epilogue", "--out-tensor-amax", "2"}, norm},
      {{"--out-dialect", "te", "--out-tensor-scale", "row"}, rows},
      {{"--out-dialect", "mxfp4_ceil", "--out-block", "1x32"}, default_spec(dialects::mxfp4_ceil::info)}};
  for (const Case& each : all) {
    CAPTURE(each.options[1]);
    REQUIRE(run(pair.command("q.npz") + product + each.options + Arguments{"--force"}).exit_code == 0);
    const io::QuantizedFile q = io::read_quantized(out);
    CHECK(compare(q.rows, reference_kernels().quantize(d.view(), each.spec, {})).equal());
    CHECK(std::get<std::string>(q.options.at("gemm_accumulate")) == "sm100_nvfp4");
    CHECK(std::get<std::string>(q.options.at("gemm_beta")) == "0x3F000000");
    CHECK(std::get<std::int64_t>(q.options.at("gemm_split_k")) == 2);
    CHECK(std::get<std::string>(q.options.at("gemm_c_sha256")) == io::sha256(io::read_bytes(c).view()));
  }
  const auto refused = [&](const Arguments& more) { return refusal(pair.command("r.npz") + more); };
  CHECK(has(refused({"--out-dialect", "te", "--out-dtype", "bf16"}), "--out-d"));
  CHECK(has(refused({"--out-dialect", "nope"}), "'nope'"));
  CHECK(has(refused({"--out-block", "16x16"}), "--out-dialect"));
  CHECK(has(refused({"--out-dialect", "mxfp4_ceil", "--out-tensor-scale", "row"}), "second-level"));
  CHECK(!std::filesystem::exists(pair.folder / "r.npz"));
}

TEST_CASE("cli gemm: --list-models needs no operands and says what each model rests on") {
  const Json models = program::json({"gemm", "--list-models"}).at("models");
  REQUIRE(models.size() == accumulations().size());
  for (std::size_t i = 0; i < models.size(); ++i) {
    const Accumulation& acc = accumulations()[i];
    CHECK(models[i].at("name") == acc.name);
    CHECK(models[i].at("evidence") == acc.evidence);
    CHECK(models[i].at("confidence") == acc.confidence);
  }
  const std::string text = run({"gemm", "--list-models"}).out;
  for (const Accumulation& acc : accumulations())
    CHECK(has(text, std::string(acc.name) + "\n  evidence    " + std::string(acc.evidence)));
}

TEST_CASE("cli gemm: refusals name the files and leave what was there") {
  const Pair pair;
  const std::string a = pair.folder / "a.npz", b = pair.folder / "b.npz";
  const auto refused = [&](const Arguments& more) { return refusal(pair.command() + more); };
  const auto product = [&](const std::string& other) {
    return refusal({"gemm", a, pair.folder / other, "-o", pair.folder / "d.npy"});
  };
  pair.make("short", gaussian::matrix(7, 96, 5), {});
  pair.make("mx", gaussian::matrix(7, 200, 5), {"--dialect", "mxfp4_ceil"});
  CHECK(has(product("short.npz"), a + ", " + pair.folder / "short.npz: a product contracts"));
  CHECK(has(product("mx.npz"), pair.folder / "mx.npz: the operands of a product"));
  CHECK(has(product("b.npy"), "b.npy"));
  CHECK(has(product("none.npz"), "none.npz"));
  CHECK(has(refused({"--accumulate", "sm100_mxfp4"}), a + ", " + b + ": sm100_mxfp4: takes"));
  CHECK(has(refused({"--accumulate", "sm80_fp64"}), "FP64"));
  CHECK(has(refused({"--accumulate", "nope"}), "--accumulate nope: expected one of sm70_fp16"));
  CHECK(has(refused({"--alpha", "much"}), "--alpha"));
  CHECK(has(refused({"--beta", "2"}), "--beta needs --c"));
  CHECK(has(refused({"--c", pair.folder / "b.npy"}), "b.npy: expected C 5 x 7 in fp32, found 7 x 200"));
  CHECK(has(refused({"--bias", pair.folder / "c.npy"}),
            "c.npy: expected a bias for each of 7 columns, found 35"));
  CHECK(has(refused({"--bias", a}), "a.npz: file: expected one array"));
  CHECK(has(refused({"--split-k", "0"}), "--split-k"));
  CHECK(has(refused({"--out-dtype", "int8"}), "int8"));
  if (!gpu_layer::kernels()) CHECK(has(refused({"--device", "gpu"}), "GPU"));
  CHECK(has(refusal({"gemm", a, b}), "-o D"));
  CHECK(has(refusal({"gemm", a, "-o", "x.npy"}), "expected A, B"));
  CHECK(has(refusal({"gemm", a, b, "-o", "-", "--json"}), "--output"));
  CHECK(has(refusal({"gemm", a, b, "-o", pair.folder / "d.txt"}), "d.txt"));
  CHECK(!std::filesystem::exists(pair.folder / "d.npy"));
  spill(pair.folder / "d.npy", "old");
  CHECK(has(refused({}), "d.npy: output: expected no file"));
  CHECK(slurp(pair.folder / "d.npy") == "old");
}
