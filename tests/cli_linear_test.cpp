#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <random>

#include <nvfp4/io.hpp>
#include <nvfp4/linear.hpp>
#include <nvfp4/nvfp4.hpp>

#include "tests/gpu.hpp"
#include "tests/program.hpp"

/// `nvfp4 linear` and its dumps, as scripts call them.
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

/// x, w and dy of a layer in files.
struct Layer {
  scratch::Folder folder;
  Matrix x{48, 64}, w{32, 64}, dy{48, 32};

  explicit Layer(unsigned seed = 9) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (const auto& [m, name] : {std::pair{&x, "x.npy"}, {&w, "w.npy"}, {&dy, "dy.npy"}}) {
      for (std::int64_t i = 0; i < m->rows * m->cols; ++i) m->f32()[i] = normal(random);
      io::write_matrix(folder / name, m->view(), io::Overwrite::no);
    }
  }
  Arguments command(const std::string& out = "o.npz") const {
    return {"linear",          "--x", folder / "x.npy", "--w", folder / "w.npy", "--dy",
            folder / "dy.npy", "-o",  folder / out};
  }
  LinearResult expected(const std::string& recipe, std::uint64_t seed = 0) const {
    return linear(*find_recipe(recipe), x.view(), w.view(), dy.view(), seed, reference_kernels());
  }
};

bool same(const io::ArrayFile& file, const std::string& name, const Matrix& expected) {
  const io::Array array = file.read(name);
  const auto values = array.f32(std::array{expected.rows, expected.cols});
  return std::ranges::equal(std::as_bytes(values), std::as_bytes(std::span(expected.bytes)));
}

/// The dump's arrays as a reader without this library would use them.
struct Dump {
  std::string folder;
  Json manifest;
  explicit Dump(const std::string& folder)
      : folder(folder), manifest(Json::parse(slurp(folder + "/manifest.json"))) {}
  Matrix values(const std::string& file) const {
    if (file.ends_with(".npy")) return io::load_matrix(folder + "/" + file);
    return reference_kernels().dequantize(io::read_quantized(folder + "/" + file).rows);
  }
};

}  // namespace

TEST_CASE("cli linear: all outputs of every recipe are the reference's" * doctest::test_suite("sweep")) {
  const Layer layer;
  for (const Recipe& recipe : recipes()) {
    CAPTURE(recipe.name);
    const Arguments command = layer.command() + Arguments{"--recipe", recipe.name, "--seed", "7", "--force"};
    CHECK(program::json(command).value("recipe", "") == recipe.name);
    const auto file = io::open_arrays(layer.folder / "o.npz");
    const LinearResult expected = layer.expected(recipe.name, 7);
    CHECK(same(*file, "y", expected.fprop.out));
    CHECK(same(*file, "dx", expected.dgrad.out));
    CHECK(same(*file, "dw", expected.wgrad.out));
  }
}

TEST_CASE("cli linear: the same bytes for any number of threads, either device, and a recipe from a file") {
  const Layer layer;
  spill(layer.folder / "r.json", io::to_json(*find_recipe("nvidia")));
  REQUIRE(run(layer.command("a.npz")).exit_code == 0);
  const std::string bytes = slurp(layer.folder / "a.npz");
  for (const Arguments& how : {Arguments{"--threads", "1"},
                               {"--threads", "7"},
                               {"--device", "reference"},
                               {"--recipe", layer.folder / "r.json"},
                               {"--recipe", "nvidia"}}) {
    REQUIRE(run(layer.command("b.npz") + how + Arguments{"--force"}).exit_code == 0);
    CHECK((slurp(layer.folder / "b.npz") == bytes));
  }
  REQUIRE(run(layer.command("c.npz") + Arguments{"--seed", "1"}).exit_code == 0);
  CHECK((slurp(layer.folder / "c.npz") != bytes));
}

TEST_CASE("cli linear: another dialect inside a recipe") {
  const Layer layer;
  const Arguments four_over_six{"--recipe",   "nvidia", "--dialect", "te_4over6",
                                "--e4m3-max", "256",    "--select",  "mse"};
  const Json json = program::json(layer.command() + four_over_six + Arguments{"--seed", "7"});
  CHECK(json.value("recipe", "") == "nvidia+te_4over6");
  const Recipe recipe = with_dialect(*find_recipe("nvidia"), "te_4over6", {256, Select::mse, false});
  const LinearResult expected =
      linear(recipe, layer.x.view(), layer.w.view(), layer.dy.view(), 7, reference_kernels());
  const auto file = io::open_arrays(layer.folder / "o.npz");
  CHECK(same(*file, "y", expected.fprop.out));
  CHECK(same(*file, "dx", expected.dgrad.out));
  CHECK(same(*file, "dw", expected.wgrad.out));
  const auto refused = [&](const Arguments& more) { return refusal(layer.command("p.npz") + more); };
  CHECK(has(refused({"--dialect", "nope"}), "--dialect nope: no dialect 'nope'"));
  CHECK(has(refused({"--dialect", "te_4over6", "--e4m3-max", "300"}), "fprop: operand a: e4m3-max must be"));
  CHECK(has(refused({"--dialect", "te_4over6", "--recipe", "mxfp4"}), "recipe mxfp4 has no operand by te"));
  CHECK(has(refused({"--dialect", "te_4over6", "--select", "x"}), "--select x: expected mae, mse or absmax"));
  CHECK(has(refused({"--e4m3-max", "256"}), "--e4m3-max requires --dialect"));
  CHECK(!std::filesystem::exists(layer.folder / "p.npz"));
}

/// What it reads is what it prints, and the page that shows it cannot rot.
TEST_CASE("cli linear: the recipes side by side") {
  const Json json = program::json({"linear", "--list-recipes"});
  REQUIRE(json.at("recipes").size() == recipes().size());
  for (std::size_t i = 0; i < recipes().size(); ++i)
    CHECK(io::parse_recipe(json.at("recipes").at(i).dump(), "r.json") == recipes()[i]);
  const std::string table = run({"linear", "--list-recipes"}).out,
                    page = slurp(NVFP4_SOURCE_DIR "/docs/recipes.md");
  CHECK(std::ranges::count(table, '\n') == static_cast<std::ptrdiff_t>(2 + 3 * recipes().size()));
  CHECK(
      has(table, "| nvidia | wgrad | dYᵀ: te 1x16 SR, RHT 16 signs te | Xᵀ: te 1x16 RNE, RHT 16 signs te |"));
  CHECK_MESSAGE(has(page, table),
                "docs/recipes.md: expected the table that `nvfp4 linear --list-recipes` prints");
  for (const Recipe& recipe : recipes()) CHECK_MESSAGE(has(page, "`" + recipe.name + "`"), recipe.name);
  for (const PublishedModel& m : published_models())
    CHECK(has(page, "| `" + std::string(m.name) + "` | " + std::to_string(m.blocks)));
}

TEST_CASE("cli linear: a dump's terms are the products of its operands, and its files are all there are") {
  const Layer layer;
  for (const std::string recipe : {"nvidia", "bf16", "te_rowscaled", "mxfp4"}) {
    CAPTURE(recipe);
    const std::string folder = layer.folder / ("dump_" + recipe);
    REQUIRE(run(layer.command() + Arguments{"--force", "--recipe", recipe, "--dump", folder}).exit_code == 0);
    const Dump dump(folder);
    CHECK(dump.manifest.at("recipe").at("name") == recipe);
    CHECK(dump.manifest.at("out_dtype") == "float32");
    CHECK(dump.manifest.at("provenance").at("seed") == 0);
    std::size_t files = 1;
    for (const auto& [name, pass] : dump.manifest.at("passes").items()) {
      const Json& term = pass.at("terms").at(0);
      CHECK(pass.at("terms").size() == 1);
      CHECK(term.at("kind") == (recipe == "bf16" ? "dense" : "scaled"));
      CHECK(term.at("transform").is_null() == !(recipe == "nvidia" && name == "wgrad"));
      CHECK((slurp(folder + "/" + pass.at("out").get<std::string>()) ==
             slurp(folder + "/" + term.at("out").get<std::string>())));
      files += term.at("transform").is_null() ? 4 : 6;
      CHECK(term.at("alpha_includes_globals") == (recipe != "te_rowscaled" || name == "dgrad"));
      CHECK(dump.values(term.at("a")).cols == dump.values(term.at("b")).cols);
    }
    CHECK(std::distance(std::filesystem::directory_iterator(folder), {}) ==
          static_cast<std::ptrdiff_t>(files));
  }
}

/// out = alpha * a * transpose(b), and the pass's out the sum of the terms' in order, a single row standing for all.
TEST_CASE("cli linear: a dump of several terms, dense ones and rows that are broadcast among them") {
  const Layer layer;
  Recipe recipe = *find_recipe("averis");
  for (GemmRecipe* g : {&recipe.fprop, &recipe.dgrad, &recipe.wgrad}) g->accumulate_dense = "exact";
  spill(layer.folder / "r.json", io::to_json(recipe));
  const Arguments how{"--recipe", layer.folder / "r.json", "--dump", layer.folder / "d"};
  REQUIRE(run(layer.command() + how).exit_code == 0);
  const Dump dump(layer.folder / "d");
  for (const auto& [name, pass] : dump.manifest.at("passes").items()) {
    const bool wgrad = name == "wgrad";
    CAPTURE(wgrad);
    REQUIRE(pass.at("terms").size() == (wgrad ? 4 : 2));
    Matrix sum = dump.values(pass.at("terms").at(0).at("out"));
    for (std::size_t t = 1; t < pass.at("terms").size(); ++t) {
      const Json& term = pass.at("terms").at(t);
      CHECK(term.at("kind") == "dense");
      const Matrix a = dump.values(term.at("a")), b = dump.values(term.at("b")),
                   out = dump.values(term.at("out"));
      CHECK(out.rows == (wgrad ? sum.rows : 1));
      for (std::int64_t i = 0; i < out.rows * out.cols; ++i) {
        double exact = 0;  // BF16 products within a few binades
        for (std::int64_t k = 0; k < a.cols; ++k)
          exact += double{a.f32()[i / out.cols * a.cols + k]} * b.f32()[i % out.cols * b.cols + k];
        CHECK(out.f32()[i] == static_cast<float>(exact) * term.at("alpha").get<float>());
      }
      for (std::int64_t i = 0; i < sum.rows * sum.cols; ++i)
        sum.f32()[i] += out.f32()[i % (out.rows * out.cols)];
    }
    CHECK((sum.bytes == dump.values(pass.at("out")).bytes));
  }
}

TEST_CASE("cli linear: dumped operands are the layer's, byte for byte") {
  const Layer layer;
  REQUIRE(run(layer.command() + Arguments{"--seed", "3", "--dump", layer.folder / "d"}).exit_code == 0);
  const Dump dump(layer.folder / "d");
  const LinearResult expected = layer.expected("nvidia", 3);
  const Term& term = expected.wgrad.terms[0];
  const Json& written = dump.manifest.at("passes").at("wgrad").at("terms").at(0);
  const auto read = [&](const char* side) {
    return io::read_quantized(dump.folder + "/" + written.at(side).get<std::string>());
  };
  CHECK(compare(*term.a.quantized, read("a").rows).equal());
  CHECK(compare(*term.b.quantized, read("b").rows).equal());
  CHECK(read("a").rows.spec.stochastic->random == RandomBits{.seed = 3, .stream = 4});
  CHECK(written.at("alpha").get<float>() == term.scaling.alpha);
  const Matrix transformed = converted(term.a.transformed.view(), Dtype::fp32, reference_kernels());
  CHECK((dump.values(written.at("a_transformed")).bytes == transformed.bytes));
}

TEST_CASE("cli linear: a saved state is what a run calibrated, and another runs with it") {
  const Layer layer, other(10);
  for (const std::string recipe : {"chon", "arcquant"}) {
    const std::string file = layer.folder / (recipe + ".json");
    const Arguments how{"--recipe", recipe, "--force"};
    REQUIRE(run(layer.command() + how + Arguments{"--save-state", file, "--dump", layer.folder / "d"})
                .exit_code == 0);
    const LayerState state = layer.expected(recipe).state;
    CHECK(slurp(file) == io::to_json(state));
    const Json provenance = Dump(layer.folder / "d").manifest.at("provenance");
    CHECK(provenance.at("state_sha256") == io::sha256(scratch::bytes(slurp(file)).view()));
    REQUIRE(run(layer.command("again.npz") + how + Arguments{"--state", file}).exit_code == 0);
    CHECK((slurp(layer.folder / "again.npz") == slurp(layer.folder / "o.npz")));

    const Arguments given = how + Arguments{"--state", file, "--save-state", other.folder / "s.json"};
    REQUIRE(run(other.command() + given).exit_code == 0);
    CHECK(slurp(other.folder / "s.json") == slurp(file));
    const LinearResult expected = linear(*find_recipe(recipe), other.x.view(), other.w.view(),
                                         other.dy.view(), 0, reference_kernels(), &state);
    CHECK(same(*io::open_arrays(other.folder / "o.npz"), "y", expected.fprop.out));
    CHECK((expected.fprop.out.bytes != other.expected(recipe).fprop.out.bytes));
  }
  REQUIRE(run(layer.command() + Arguments{"--force", "--dump", layer.folder / "d"}).exit_code == 0);
  CHECK(Dump(layer.folder / "d").manifest.at("provenance").at("state_sha256").is_null());
}

TEST_CASE("cli linear: states that are none of the layer's") {
  const Layer layer;
  const std::string file = layer.folder / "s.json";
  const auto refused = [&](const std::string& text, const std::string& recipe = "chon") {
    spill(file, text);
    return refusal(layer.command() + Arguments{"--recipe", recipe, "--state", file});
  };
  CHECK(has(refused("nonsense"), "s.json: state"));
  CHECK(has(refused(R"({"fprop": {"hot_channels": [1.5]}})"), "s.json: state field 'fprop.hot_channels'"));
  CHECK(has(refused("{}"), "s.json: fprop: no state 'hot_channels' of scheme chon"));
  CHECK(has(refused(R"({"fprop": {"hot_channels": [64]}})"),
            "s.json: fprop's state 'hot_channels': expected 0 to 63, found 64"));
  CHECK(has(refused(R"({"fprop": {"hot_channels": [1]}})", "nvidia"),
            "s.json: fprop: state 'hot_channels' is none of scheme plain"));
  CHECK(has(refusal(layer.command() + Arguments{"--state", layer.folder / "none.json"}), "none.json"));
  CHECK(!std::filesystem::exists(layer.folder / "o.npz"));
  const Arguments save{"--recipe", "chon", "--save-state", file};
  const std::string before = slurp(file);
  CHECK(has(refusal(layer.command() + save), "s.json: output"));
  CHECK(slurp(file) == before);
  CHECK(!std::filesystem::exists(layer.folder / "o.npz"));
  CHECK(has(refusal(layer.command() + Arguments{"--save-state", layer.folder / "no/such"}), "no/such"));
  CHECK(has(refusal({"linear", "--x", layer.folder / "x.npy", "--w", layer.folder / "w.npy", "--dy",
                     layer.folder / "dy.npy", "-o", "-", "--save-state", "-"}),
            "--save-state -"));
  REQUIRE(run(layer.command() + save + Arguments{"--force"}).exit_code == 0);
  CHECK(slurp(file) != before);
  const program::Ran ran = run(layer.command("p.npz") + Arguments{"--recipe", "chon", "--save-state", "-"});
  CHECK(ran.out == slurp(file));
}

TEST_CASE("cli linear: refusals leave what was there") {
  const Layer layer;
  const auto refused = [&](const Arguments& more) { return refusal(layer.command() + more); };
  CHECK(has(refused({"--recipe", "nope"}),
            "--recipe nope: expected FILE.json or one of bf16, nvfp4_plain, nvidia"));
  CHECK(has(refused({"--recipe", layer.folder / "none.json"}), "none.json"));
  spill(layer.folder / "bad.json", "{");
  CHECK(has(refused({"--recipe", layer.folder / "bad.json"}), "bad.json"));
  const std::string x = layer.folder / "x.npy", dy = layer.folder / "dy.npy";
  CHECK(has(refusal({"linear", "--x", x, "--w", dy, "--dy", dy, "-o", layer.folder / "o.npz"}),
            "W with the columns of X, 64, found 32"));
  if (!gpu_layer::kernels()) CHECK(has(refused({"--device", "gpu"}), "GPU"));
  CHECK(has(refusal({"linear", "--x", layer.folder / "x.npy"}), "--w"));
  std::filesystem::create_directory(layer.folder / "mine");
  spill(layer.folder / "mine" + "/note", "kept");
  CHECK(has(refused({"--dump", layer.folder / "mine", "--force"}), "mine: exists"));
  CHECK(slurp(layer.folder / "mine" + "/note") == "kept");
  CHECK(has(refused({"--dump", layer.folder / "no/such/place"}), "no/such/place"));
  CHECK(!std::filesystem::exists(layer.folder / "o.npz"));
  spill(layer.folder / "o.npz", "old");
  CHECK(has(refused({"--dump", layer.folder / "d"}), "o.npz"));
  CHECK(slurp(layer.folder / "o.npz") == "old");
  CHECK(!std::filesystem::exists(layer.folder / "d"));
}
