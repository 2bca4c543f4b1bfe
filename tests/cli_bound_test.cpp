#include <doctest/doctest.h>

#include <nvfp4/io.hpp>
#include <nvfp4/nvfp4.hpp>

#include "tests/program.hpp"

/// `nvfp4 bound`, and the errors that `nvfp4 gemm` prints, as scripts call them.
using namespace nvfp4;
using program::Arguments;
using program::has;
using program::operator+;
using program::Quantized;
using program::refusal;
using program::run;
using Json = nlohmann::json;

TEST_CASE("cli bound: a priori it is the library's, and says of what") {
  const Json json = program::json(
      {"bound", "--k", "4096", "--dialect", "mxfp4_ceil", "--a-amax", "2", "--probability", "0.9"});
  const QuantizeSpec spec = default_spec(*find_dialect("mxfp4_ceil"));
  const ProductBound bound = product_bound(spec, 2, spec, 1, 4096, *find_accumulation("sm100_mxfp4"));
  CHECK(json.at("quantization").at("worst").get<double>() == bound.quantization.worst);
  CHECK(json.at("quantization").at("probable").get<double>() == bound.quantization.probable(0.9));
  CHECK(json.at("accumulation").at("worst").get<double>() == bound.accumulation.worst);
  CHECK(json.at("accumulation").at("probable").get<double>() == bound.accumulation.probable(0.9));
  CHECK(json.at("worst").get<double>() >= bound.quantization.worst + bound.accumulation.worst);
  CHECK(json.at("accumulate") == "sm100_mxfp4");
  CHECK(json.at("dialect") == "mxfp4_ceil");
  const std::string text = run({"bound", "--k", "64"}).out;
  for (const char* part :
       {"te 1x16, K 64, by sm100_nvfp4", "element", "quantization", "accumulation", "together"})
    CHECK(has(text, part));
}

TEST_CASE("cli bound: rounding at random may err by a whole gap") {
  const Json nearest = program::json({"bound", "--k", "64"}),
             random = program::json({"bound", "--k", "64", "--rounding", "sr"});
  CHECK(random.at("rounding") == "sr");
  CHECK(random.at("element").get<double>() > 1.9 * nearest.at("element").get<double>());
}

TEST_CASE("cli bound: of two tensors it covers what gemm gives and what quantization changed") {
  const Quantized q;
  const std::string a = q.folder / "q.npz", d = q.folder / "d.npy";
  const Json bound = program::json({"bound", a, a});
  CHECK(bound.at("rows") == 37);
  CHECK(bound.at("k") == 52);
  REQUIRE(run({"gemm", a, a, "-o", d}).exit_code == 0);
  const Matrix product = io::load_matrix(d);
  double largest = 0;
  for (std::int64_t i = 0; i < 37; ++i)
    for (std::int64_t j = 0; j < 37; ++j) {
      double exact = 0;  // of numbers of 12 bits within 24 binades: FP64 rounds it far below the bound
      for (std::int64_t k = 0; k < 52; ++k)
        exact += static_cast<double>(q.x.f32()[i * 52 + k]) * q.x.f32()[j * 52 + k];
      largest = std::max(largest, std::abs(product.f32()[i * 37 + j] - exact));
    }
  CHECK(largest <= bound.at("worst").get<double>());
  CHECK(largest > 0);
}

TEST_CASE("cli gemm: --bound measures D, --against somebody's, and a wrong one is exit 1") {
  const Quantized q;
  const std::string a = q.folder / "q.npz", d = q.folder / "d.npy";
  const Json own = program::json({"gemm", a, a, "-o", d, "--bound"}).at("error");
  CHECK(own.at("measured").get<double>() <= own.at("bound").get<double>());
  CHECK(own.at("ratio").get<double>() > 0);
  CHECK(own.at("ratio").get<double>() <= 1);
  CHECK(own.at("beyond") == 0);
  const Json same = program::json({"gemm", a, a, "--against", d}).at("error");
  CHECK(same == own);
  CHECK(run({"gemm", a, a, "--against", d, "--accumulate", "fp32_in_order"}).exit_code == 0);
  Matrix wrong = io::load_matrix(d);
  wrong.f32()[38] *= 1.001f;
  io::write_matrix(q.folder / "wrong.npy", wrong.view(), io::Overwrite::no);
  const auto ran = run({"gemm", a, a, "--against", q.folder / "wrong.npy"});
  CHECK(ran.exit_code == 1);
  CHECK(has(ran.out, "row 1, column 1, 1 outputs beyond"));
}

TEST_CASE("cli bound: refusals") {
  const Quantized q;
  const std::string a = q.folder / "q.npz";
  CHECK(has(refusal({"bound"}), "expected --k N, or two quantized tensors"));
  CHECK(has(refusal({"bound", a}), "two quantized tensors"));
  CHECK(has(refusal({"bound", a, a, "--k", "64"}), "not both"));
  CHECK(has(refusal({"bound", "--k", "0"}), "--k"));
  CHECK(has(refusal({"bound", "--k", "64", "--a-amax", "-1"}), "--a-amax -1"));
  CHECK(has(refusal({"bound", "--k", "64", "--probability", "1"}), "--probability"));
  CHECK(has(refusal({"bound", "--k", "64", "--dialect", "nope"}), "nope"));
  CHECK(has(refusal({"bound", "--k", "64", "--rounding", "sr", "--dialect", "mxfp4_ceil"}),
            "no stochastic rounding"));
  CHECK(has(refusal({"bound", "--k", "64", "--accumulate", "sm100_mxfp4"}), "sm100_mxfp4: takes"));
  CHECK(has(refusal({"bound", a, a, "--accumulate", "sm100_mxfp4"}), "sm100_mxfp4: takes"));
  CHECK(has(refusal({"gemm", a, a, "--against", q.folder / "x.npy"}), "expected D 37 x 37, found 37 x 52"));
  CHECK(has(refusal({"gemm", a, a, "--against", q.folder / "x.npy", "-o", "d.npy"}), "-o D or --against D"));
}
