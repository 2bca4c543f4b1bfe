#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <sstream>
#include <string>

#include <nvfp4/layer_inputs.hpp>
#include <nvfp4/linear.hpp>
#include <nvfp4/nvfp4.hpp>

#include "tests/gpu.hpp"
#include "tests/program.hpp"

/// `nvfp4 study schemes`, and whether it shows what the schemes are for.
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

/// Each recipe's products.
std::map<std::string, std::map<std::string, Json>> study(const Arguments& more) {
  std::map<std::string, std::map<std::string, Json>> costs;
  const Json json = program::json(Arguments{"study", "schemes"} + more);
  for (const Json& row : json.at("results")) costs[row.at("recipe")][row.at("gemm")] = row;
  return costs;
}

/// By commas, those that there are.
std::string present(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names)
    if (find_recipe(name)) list += (list.empty() ? "" : ",") + name;
  return list;
}

}  // namespace

TEST_CASE(
    "cli study schemes: every recipe and product, the same for any number of threads and on both devices") {
  const Arguments small{"study", "schemes", "--tokens", "32", "--in", "48", "--out", "32", "--draws", "2"};
  const auto ran = run(small);
  CHECK(ran.exit_code == 0);
  CHECK(has(ran.out, "32 tokens, 48 to 32 channels, gaussian data of seed 0, 2 draws\n"));
  const Json json = program::json(small);
  CHECK(json.at("results").size() + 3 * json.at("not_run").size() == 3 * recipes().size());
  for (const Recipe& recipe : recipes()) CHECK(has(ran.out, "\n" + recipe.name + " "));
  for (const Arguments& how : {Arguments{"--threads", "1"}, {"--threads", "7"}, {"--device", "reference"}})
    CHECK(run(small + how).out == ran.out);
  CHECK(run(small + Arguments{"--seed", "1"}).out != ran.out);
}

/// In double, by this file's own loops and with a product in another order.
TEST_CASE("cli study schemes: errors are those of the outputs against the exact product") {
  const LayerInputs in = make_layer_inputs("heavy_tailed", 32, 48, 16, 7);
  const auto wide = [](const Matrix& m) { return converted(m.view(), Dtype::fp32, cpu_kernels()); };
  const Matrix dy = wide(in.dy), x = wide(in.x);
  std::vector<double> exact(16 * 48), sum(exact.size());
  for (std::size_t o = 0; o < 16; ++o)
    for (std::size_t c = 0; c < 48; ++c)
      for (std::size_t t = 32; t-- > 0;)
        exact[o * 48 + c] += double{dy.f32()[t * 16 + o]} * x.f32()[t * 48 + c];
  double squares = 0, mean_squares = 0, norm = 0, largest = 0, largest_error = 0;
  for (std::uint64_t draw = 0; draw < 3; ++draw) {
    const Matrix dw =
        linear(*find_recipe("nvidia"), in.x.view(), in.w.view(), in.dy.view(), 7 + draw, cpu_kernels())
            .wgrad.out;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      sum[i] += dw.f32()[i];
      squares += std::pow(dw.f32()[i] - exact[i], 2) / 3;
      largest_error = std::max(largest_error, std::fabs(dw.f32()[i] - exact[i]));
    }
  }
  for (std::size_t i = 0; i < exact.size(); ++i) {
    norm += exact[i] * exact[i];
    mean_squares += std::pow(sum[i] / 3 - exact[i], 2);
    largest = std::max(largest, std::fabs(exact[i]));
  }
  const auto costs = study({"--data", "heavy_tailed", "--tokens", "32", "--in", "48", "--out", "16", "--seed",
                            "7", "--draws", "3", "--recipes", "nvidia"});
  const Json row = costs.at("nvidia").at("wgrad");
  const auto digits = [](double v) { return std::lround(v * 1e9); };
  CHECK(digits(row.at("error")) == digits(std::sqrt(squares / norm)));
  CHECK(digits(row.at("error_of_mean")) == digits(std::sqrt(mean_squares / norm)));
  CHECK(digits(row.at("largest_error")) == digits(largest_error / largest));
}

/// 4 + 8 / 16 bits and the tensor scale; of 16x16 blocks 8 / 256; ARCQuant's 4.5 (K + S) / K; a mean of BF16 for all tokens.
TEST_CASE("cli study schemes: bits of a value, and products beside plain ones") {
  const auto costs = study({"--data", "hot_channels", "--tokens", "64", "--in", "512", "--out", "128",
                            "--draws", "1", "--recipes", "bf16,nvfp4_plain,nvidia,mxfp4,arcquant,averis"});
  const auto at = [&](const char* recipe, const char* gemm, const char* what) {
    return costs.at(recipe).at(gemm).at(what).get<double>();
  };
  const double x = 64 * 512, w = 512 * 128;
  CHECK(at("bf16", "fprop", "bits_a") == 16);
  CHECK(at("nvfp4_plain", "fprop", "bits_a") == 4.5 + 32 / x);
  CHECK(at("nvfp4_plain", "dgrad", "bits_b") == 4.5 + 32 / w);
  CHECK(at("nvidia", "fprop", "bits_b") == 4 + 8. / 256 + 32 / w);
  CHECK(at("mxfp4", "fprop", "bits_a") == 4.25);
  CHECK(at("arcquant", "fprop", "bits_a") == 4.5 * (512 + 16) / 512 + 32 / x);
  CHECK(at("arcquant", "fprop", "multiplications") == (512 + 16) / 512.);
  CHECK(at("averis", "fprop", "bits_a") == 4.5 + (32 + 16 * 512) / x);
  CHECK(at("averis", "fprop", "bits_b") == 4.5 + 32 / w);
  CHECK(at("averis", "fprop", "multiplications") == 1 + 1 / 64.);
  CHECK(at("averis", "wgrad", "multiplications") == 1 + 3 / 64.);
  CHECK(at("nvidia", "wgrad", "multiplications") == 1);
}

TEST_CASE("cli study schemes: averis errs least under a mean shift") {
  const auto costs =
      study({"--data", "mean_shifted", "--draws", "2", "--recipes", "nvfp4_plain,nvidia,averis,averis_rht"});
  const auto error = [&](const char* recipe) {
    return costs.at(recipe).at("fprop").at("error").get<double>();
  };
  CHECK(error("averis") < error("nvfp4_plain"));
  CHECK(error("averis") < error("nvidia"));
  CHECK(error("averis_rht") == error("averis"));
}

TEST_CASE("cli study schemes: residuals of hot channels help") {
  const auto costs = study({"--data", "hot_channels", "--draws", "2", "--recipes",
                            present({"nvfp4_plain", "nvidia", "arcquant", "chon"})});
  const auto error = [&](const std::string& recipe) {
    return costs.at(recipe).at("fprop").at("error").get<double>();
  };
  CHECK(error("arcquant") < error("nvfp4_plain"));
  if (find_recipe("chon")) CHECK(error("chon") < error("nvidia"));
}

TEST_CASE(
    "cli study schemes: wgrad's transform helps under outliers in blocks of tokens, and not on Gaussian "
    "data") {
  const Arguments both{"--draws", "2", "--recipes", "nvidia,nvidia_no_rht"};
  const auto ratio = [&](const char* data) {
    const auto costs = study(both + Arguments{"--data", data});
    const auto error = [&](const char* recipe) {
      return costs.at(recipe).at("wgrad").at("error").get<double>();
    };
    return error("nvidia") / error("nvidia_no_rht");
  };
  CHECK(ratio("block_outliers") < 0.98);
  CHECK(ratio("gaussian") > 0.98);
}

/// X and W are +-1, which every quantizer here has exactly, so that all error is that of dY's rounding. Unbiased, the mean of
/// n draws errs by 1 / sqrt(n) of one; te clips block maxima under a scale that was rounded down, te_scale_up does not.
TEST_CASE("cli study schemes: over draws unbiased rounding averages out and clipping does not" *
          doctest::test_suite("sweep")) {
  const scratch::Folder folder;
  LayerInputs in = make_layer_inputs("gaussian", 128, 32, 128, 0);
  for (Matrix* m : {&in.x, &in.w})
    for (std::int64_t i = 0; i < m->rows * m->cols; ++i) m->u16()[i] = (m->u16()[i] & 0x8000) | 0x3F80;
  io::write_matrix(folder / "x.npy", in.x.view(), io::Overwrite::no);
  io::write_matrix(folder / "w.npy", in.w.view(), io::Overwrite::no);
  io::write_matrix(folder / "dy.npy", in.dy.view(), io::Overwrite::no);
  const Recipe unbiased = with_dialect(*find_recipe("nvidia_no_rht"), "te_scale_up");
  spill(folder / "r.json", io::to_json(unbiased));
  const auto costs =
      study({"--x", folder / "x.npy", "--w", folder / "w.npy", "--dy", folder / "dy.npy", "--input-dtype",
             "bf16", "--draws", "256", "--recipes",
             present({"nvfp4_plain", "nvidia_no_rht", "quartet2"}) + "," + (folder / "r.json")});
  const auto at = [&](const std::string& recipe, const char* gemm, const char* what) {
    return costs.at(recipe).at(gemm).at(what).get<double>();
  };
  for (const char* gemm : {"dgrad", "wgrad"}) {
    CAPTURE(gemm);
    const double noise = at(unbiased.name, gemm, "error") / 16,
                 biased = at("nvidia_no_rht", gemm, "error_of_mean");
    CHECK(std::fabs(at("nvfp4_plain", gemm, "error_of_mean") / at("nvfp4_plain", gemm, "error") - 1) < 1e-9);
    CHECK(at(unbiased.name, gemm, "error_of_mean") < 1.1 * noise);
    CHECK(biased > 1.3 * noise);
    if (find_recipe("quartet2")) CHECK(at("quartet2", gemm, "error_of_mean") < biased);
  }
  CHECK(at("nvidia_no_rht", "fprop", "error") < 1e-6);
}

TEST_CASE("cli study schemes: files in, CSV and a page out") {
  const scratch::Folder folder;
  const LayerInputs in = make_layer_inputs("gaussian", 32, 48, 16, 0);
  const auto path = [&](const char* name) { return folder / name; };
  io::write_matrix(path("x.npy"), in.x.view(), io::Overwrite::no);
  io::write_matrix(path("w.npy"), in.w.view(), io::Overwrite::no);
  io::write_matrix(path("dy.npy"), in.dy.view(), io::Overwrite::no);
  spill(path("mine.json"), io::to_json(*find_recipe("nvidia")));
  const Arguments files{"study", "schemes",      "--x",           path("x.npy"), "--w",     path("w.npy"),
                        "--dy",  path("dy.npy"), "--input-dtype", "bf16",        "--draws", "2"};
  const Arguments outputs{"--recipes",   path("mine.json") + ",bf16", "--csv", path("t.csv"), "--report",
                          path("r.html")};
  const auto ran = run(files + outputs);
  REQUIRE(ran.exit_code == 0);
  const auto made = run({"study", "schemes", "--tokens", "32", "--in", "48", "--out", "16", "--draws", "2",
                         "--recipes", "nvidia,bf16"});
  CHECK(ran.out.substr(ran.out.find('\n')) == made.out.substr(made.out.find('\n')));

  std::istringstream csv(slurp(path("t.csv")));
  std::string line;
  std::getline(csv, line);
  CHECK(line == "recipe,gemm,error,error_of_mean,largest_error,bits_a,bits_b,multiplications");
  int lines = 0;
  while (std::getline(csv, line)) {
    CHECK(line.starts_with(lines < 3 ? "nvidia," : "bf16,"));
    CHECK(std::ranges::count(line, ',') == 7);
    ++lines;
  }
  CHECK(lines == 6);
  const std::string page = slurp(path("r.html"));
  CHECK(has(page, "<td>nvidia</td><td>wgrad</td>"));
  CHECK(!has(page, "http"));
  CHECK(has(refusal(files + outputs), "t.csv: output: expected no file"));
  CHECK(run(files + outputs + Arguments{"--force"}).exit_code == 0);
  CHECK(slurp(path("r.html")) == page);
}

TEST_CASE("cli study: a recipe that cannot run is said to be not run, and refusals") {
  const scratch::Folder folder;
  Recipe recipe = *find_recipe("arcquant_code");  // needs a positive element in W
  spill(folder / "r.json", io::to_json(recipe));
  LayerInputs in = make_layer_inputs("gaussian", 16, 16, 16, 0);
  std::ranges::fill(in.w.bytes, std::byte{0});
  io::write_matrix(folder / "x.npy", in.x.view(), io::Overwrite::no);
  io::write_matrix(folder / "w.npy", in.w.view(), io::Overwrite::no);
  const std::string x = folder / "x.npy", w = folder / "w.npy";
  const Arguments zero{"study", "schemes", "--x", x, "--w", w, "--dy", x, "--input-dtype", "bf16"};
  const auto ran = run(zero + Arguments{"--recipes", folder / "r.json"});
  CHECK(ran.exit_code == 0);
  CHECK(has(ran.out, "not run: arcquant's mode code needs a positive element in W"));
  const Json json = program::json(zero + Arguments{"--recipes", folder / "r.json"});
  CHECK(json.at("results").empty());
  CHECK(json.at("not_run").at(0).at("recipe") == "arcquant_code");

  CHECK(has(refusal({"study"}), "--help"));
  CHECK(has(refusal({"study", "nope"}), "'nope'"));
  CHECK(has(refusal({"study", "schemes", "--data", "nope"}), "--data"));
  CHECK(has(refusal({"study", "schemes", "--recipes", "bf16,nope"}),
            "--recipe nope: expected FILE.json or one of"));
  CHECK(has(refusal({"study", "schemes", "--x", x}), "--x requires"));
  CHECK(has(refusal(zero + Arguments{"--tokens", "3"}), "--tokens"));
  CHECK(has(refusal({"study", "schemes", "--draws", "0"}), "--draws"));
  if (!gpu_layer::kernels()) CHECK(has(refusal({"study", "schemes", "--device", "gpu"}), "GPU"));
  CHECK(has(refusal({"study", "schemes", "--csv", "-", "--json"}), "--csv -"));
  io::write_matrix(folder / "v.npy", Matrix(16, 17, Dtype::bf16).view(), io::Overwrite::no);
  CHECK(has(
      refusal({"study", "schemes", "--x", x, "--w", folder / "v.npy", "--dy", x, "--input-dtype", "bf16"}),
      "expected X (tokens, in), W (out, in) and dY (tokens, out)"));
}
