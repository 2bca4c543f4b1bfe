#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <stdexcept>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "src/schemes/low_rank.hpp"
#include "tests/gaussian.hpp"
#include "tests/layer.hpp"

using namespace nvfp4;
using layer::Layer;
using scheme::low_rank;
using scheme::LowRank;

/// Scheme metis, and the decomposition under it.
namespace {

double sign(std::int64_t i, std::int64_t k) {
  return __builtin_popcountll(static_cast<unsigned>(i & k)) % 2 ? -1 : 1;
}

/// Singular values s_n with the columns n + 1 and 2 n + 1 of Hadamard's matrix of 64 over 8 as vectors: exact in FP32.
/// Rows and columns beyond 64 are zeros.
Matrix of_singular_values(const std::vector<double>& s, std::int64_t rows, std::int64_t cols) {
  Matrix a(rows, cols);
  for (std::int64_t i = 0; i < 64; ++i)
    for (std::int64_t k = 0; k < 64; ++k)
      for (std::size_t n = 0; n < s.size(); ++n) {
        const auto c = static_cast<std::int64_t>(n);
        a.f32()[i * cols + k] += static_cast<float>(s[n] * sign(i, c + 1) * sign(k, 2 * c + 1) / 64);
      }
  return a;
}

double dot(const Matrix& m, std::int64_t i, std::int64_t j) {
  double sum = 0;
  for (std::int64_t k = 0; k < m.cols; ++k) sum += double{m.f32()[i * m.cols + k]} * m.f32()[j * m.cols + k];
  return sum;
}

double squares(const Matrix& m) {
  double sum = 0;
  for (std::int64_t i = 0; i < m.rows * m.cols; ++i) sum += std::pow(double{m.f32()[i]}, 2);
  return sum;
}

double squares(const std::vector<float>& s) {
  double sum = 0;
  for (const float v : s) sum += std::pow(double{v}, 2);
  return sum;
}

Matrix added(Matrix a, const Matrix& b, float factor) {
  for (std::int64_t i = 0; i < a.rows * a.cols; ++i) a.f32()[i] += factor * b.f32()[i];
  return a;
}

Recipe metis(const Options& options) {
  Recipe r = *find_recipe("metis");
  for (GemmRecipe* g : {&r.fprop, &r.dgrad, &r.wgrad}) g->scheme = scheme_recipe("metis", options);
  return r;
}

}  // namespace

TEST_CASE("low_rank: known singular values and vectors are found, and what is left is nothing") {
  const std::vector<double> s{96, 40, 40, 7, 0.25};
  for (const int iterations : {0, 2}) {
    const LowRank found = low_rank(of_singular_values(s, 70, 67), 5, iterations, {.seed = 1});
    REQUIRE(found.s.size() == 5);
    for (std::size_t n = 0; n < 5; ++n) CHECK(std::fabs(found.s[n] - s[n]) < 1e-6 * s[n]);
    CHECK(squares(found.residual) < 1e-20);
    for (const Matrix* m : {&found.u, &found.v})
      for (std::int64_t i = 0; i < 5; ++i)
        for (std::int64_t j = 0; j < 5; ++j) CHECK(std::fabs(dot(*m, i, j) - (i == j)) < 1e-6);
    for (const std::int64_t n : {0, 3, 4}) {  // the others share a plane
      double u = 0, v = 0;
      for (std::int64_t i = 0; i < 64; ++i) {
        u += found.u.f32()[n * 70 + i] * sign(i, n + 1) / 8;
        v += found.v.f32()[n * 67 + i] * sign(i, 2 * n + 1) / 8;
      }
      CHECK(std::fabs(u * v - 1) < 1e-6);
    }
  }
}

TEST_CASE("low_rank: beyond the rank of a matrix there are zeros, and of a small one its own size") {
  const LowRank found = low_rank(of_singular_values({8, 2}, 64, 64), 6, 1, {.seed = 2});
  REQUIRE(found.s.size() == 6);
  for (std::size_t n = 2; n < 6; ++n) CHECK(found.s[n] == 0);
  for (std::int64_t i = 2; i < 6; ++i) CHECK(dot(found.v, i, i) == 0);
  CHECK(squares(found.residual) < 1e-24);
  CHECK(low_rank(gaussian::matrix(3, 40, 1), 60, 0, {}).s.size() == 3);
  CHECK(low_rank(gaussian::matrix(40, 3, 1), 60, 0, {}).s.size() == 3);
  CHECK(squares(low_rank(Matrix(5, 7), 3, 2, {}).residual) == 0);
}

/// Q Q^T A is a projection: |A|^2 = |s|^2 + |residual|^2, and no rank does better than the largest singular values.
TEST_CASE("low_rank: the residual is the rest of a projection, near the best there is") {
  const Matrix noise = gaussian::matrix(64, 64, 3),
               a = added(of_singular_values({90, 60, 30, 20}, 64, 64), noise, 0.05f);
  const LowRank all = low_rank(a, 64, 0, {.seed = 4});
  CHECK(squares(all.residual) < 1e-9 * squares(a));
  double best = 0;
  for (std::size_t n = 4; n < 64; ++n) best += std::pow(double{all.s[n]}, 2);
  double before = 1e9;
  for (const int iterations : {0, 1, 2}) {
    const LowRank found = low_rank(a, 4, iterations, {.seed = 4});
    const double left = squares(found.residual);
    CHECK(std::fabs(squares(a) - squares(found.s) - left) < 1e-5 * squares(a));
    CHECK(left > best * (1 - 1e-5));
    CHECK(left < before * (1 + 1e-9));
    before = left;
  }
  CHECK(before < 1.01 * best);
  CHECK(low_rank(a, 4, 0, {.seed = 5}).residual.bytes != low_rank(a, 4, 0, {.seed = 4}).residual.bytes);
}

TEST_CASE("metis: the parts are quantized apart, and their products are those of the equation") {
  const Kernels& k = cpu_kernels();
  const Layer in{gaussian::matrix(40, 80, 1), gaussian::matrix(36, 80, 2), gaussian::matrix(40, 36, 3)};
  const Recipe recipe = metis({{"rank", "5"}, {"iterations", "1"}});
  const LinearResult r = in.run(recipe);
  const auto bf16 = [&](const Matrix& m) {
    return converted(converted(m.view(), Dtype::bf16, k).view(), Dtype::fp32, k);
  };
  const Matrix x = bf16(in.x), d = bf16(in.dy), d_t = transpose(d.view());
  for (const Gemm g : all_gemms) {
    const Pass& pass = g == Gemm::fprop ? r.fprop : g == Gemm::dgrad ? r.dgrad : r.wgrad;
    const Matrix& a = g == Gemm::fprop ? x : g == Gemm::dgrad ? d : d_t;
    const auto stream = [&](int n) {
      return RandomBits{.seed = 5, .stream = static_cast<std::uint64_t>(2 * int(g) + n)};
    };
    const auto quantized = [&](const Matrix& m, int n) {
      return k.quantize(m.view(), {.stochastic = Stochastic{.random = stream(n)}}, {});
    };
    const LowRank parts = low_rank(a, 5, 1, stream(18));
    REQUIRE(pass.terms.size() == 2);
    CHECK(compare(quantized(parts.residual, 0), *pass.terms[0].a.quantized).equal());
    const BlockScaledTensor &b = *pass.terms[0].b.quantized, v = quantized(parts.v, 6);
    const Matrix u = k.dequantize(quantized(parts.u, 12)),
                 p = gemm(v, b, *find_accumulation("sm100_nvfp4"), {.scaling = output_scaling(v, b)}, k);
    for (std::int64_t n = 0; n < 5; ++n) {
      for (std::int64_t i = 0; i < a.rows; ++i)
        CHECK(pass.terms[1].a.dense.f32()[i * 5 + n] ==
              u.f32()[n * a.rows + i] * parts.s[static_cast<std::size_t>(n)]);
      for (std::int64_t j = 0; j < b.rows; ++j)
        CHECK(pass.terms[1].b.dense.f32()[j * 5 + n] == p.f32()[n * b.rows + j]);
    }
    CHECK(pass.out.bytes == added(pass.terms[0].out, pass.terms[1].out, 1).bytes);
  }
}

TEST_CASE("metis: every layer and any number of threads, ragged") {
  layer::check_every_layer(
      {gaussian::matrix(37, 52, 1), gaussian::matrix(20, 52, 2), gaussian::matrix(37, 20, 3)},
      metis({{"rank", "7"}}));
  layer::check_every_layer(
      {gaussian::matrix(5, 20, 1), gaussian::matrix(12, 20, 2), gaussian::matrix(5, 12, 3)},
      *find_recipe("metis"));
}

/// W = 1 leaves X as the product takes it. What U and V lose stays with the large singular vectors on one side; the error
/// elsewhere is the residual's. Measured: 0.0015 of the squared error.
TEST_CASE("metis: off the large singular vectors its error is less than without the split") {
  Layer in{added(of_singular_values({400, 300, 200}, 64, 64), gaussian::matrix(64, 64, 4), 0.1f),
           Matrix(64, 64), gaussian::matrix(64, 64, 3)};
  for (std::int64_t i = 0; i < 64; ++i) in.w.f32()[i * 65] = 1;
  const Matrix exact = in.run(*find_recipe("bf16")).fprop.out;
  const auto off =
      [](const Matrix& e) {  // without rows 1 to 3 and columns 1, 3 and 5 of its Hadamard transform
        double sum = 0;
        for (std::int64_t m = 0; m < 64; ++m)
          for (std::int64_t n = 0; n < 64; ++n) {
            if ((m >= 1 && m <= 3) || n == 1 || n == 3 || n == 5) continue;
            double part = 0;
            for (std::int64_t i = 0; i < 64; ++i)
              for (std::int64_t k = 0; k < 64; ++k)
                part += e.f32()[i * 64 + k] * sign(i, m) * sign(k, n) / 64;
            sum += part * part;
          }
        return sum;
      };
  const auto error = [&](const Recipe& r) { return off(added(in.run(r).fprop.out, exact, -1)); };
  Recipe plain = *find_recipe("nvfp4_plain");
  plain.fprop.a.stochastic = plain.fprop.b.stochastic = true;
  CHECK(100 * error(metis({{"rank", "4"}, {"iterations", "1"}})) < error(plain));
}

TEST_CASE("metis: recipes that it cannot run are refused") {
  const auto refused = [](const std::function<void(Recipe&)>& change) {
    Recipe r = *find_recipe("metis");
    change(r);
    CHECK_THROWS_AS(validate(r), std::invalid_argument);
  };
  refused([](Recipe& r) { r.wgrad.a.rht = r.wgrad.b.rht = 16; });
  refused([](Recipe& r) { r.fprop.a.block = {16, 16}; });
  refused([](Recipe& r) { r.fprop.accumulate_dense = "sm100_bf16"; });
  refused([](Recipe& r) { r.dgrad.scheme.options["rank"] = "0"; });
  refused([](Recipe& r) { r.dgrad.scheme.options["iterations"] = "3"; });
  refused([](Recipe& r) { r.fprop.a = r.fprop.b = {}; });
  CHECK_NOTHROW(validate(*find_recipe("metis")));
}
