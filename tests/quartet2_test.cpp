#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include <nvfp4/nvfp4.hpp>
#include <nvfp4/rcp_approx.hpp>

#include "tests/gaussian.hpp"
#include "tests/layer.hpp"

using namespace nvfp4;
using layer::gaussian_layer;
using layer::Layer;

/// Quartet II: MS-EDEN of both operands of both gradients.
namespace {

Recipe quartet2(int rht = 128, const std::string& group = "d") {
  Recipe r = *find_recipe("quartet2");
  for (GemmRecipe* g : {&r.dgrad, &r.wgrad}) {
    g->a.rht = g->b.rht = rht;
    g->scheme.options["corr_group"] = group;
  }
  return r;
}

Matrix fp32(MatrixView x) { return converted(x, Dtype::fp32, cpu_kernels()); }

/// a transpose(b) in double, of matrices in any type.
std::vector<double> product(MatrixView a, MatrixView b) {
  const Matrix x = fp32(a), y = fp32(b);
  std::vector<double> out;
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t j = 0; j < y.rows; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < x.cols; ++k)
        sum += double{x.f32()[i * x.cols + k]} * y.f32()[j * y.cols + k];
      out.push_back(sum);
    }
  return out;
}

std::vector<double> product(const Term& t) { return product(t.a.transformed.view(), t.b.transformed.view()); }

Matrix decoded(const Operand& o) { return cpu_kernels().dequantize(*o.quantized); }

/// What the backward pass stands for: the products with the numbers that fprop multiplied.
struct Gradients {
  std::vector<double> dx, dw;
};
Gradients gradients(const Layer& in, const LinearResult& r) {
  const Matrix dy = fp32(converted(in.dy.view(), Dtype::bf16, cpu_kernels()).view());
  const Term& forward = r.fprop.terms[0];
  const Matrix x = transpose(decoded(forward.a).view()), w = transpose(decoded(forward.b).view());
  return {product(dy.view(), w.view()), product(transpose(dy.view()).view(), x.view())};
}

double inner(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

/// A mean over draws against what it stands for: its squared error, relative, and its length along it.
struct Mean {
  double error, along;
  Mean(std::vector<double> sum, const std::vector<double>& expected, int draws) {
    const double norm = inner(expected, expected);
    along = inner(sum, expected) / draws / norm;
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = sum[i] / draws - expected[i];
    error = inner(sum, sum) / norm;
  }
};

/// Of dX and dW over `draws` seeds.
std::array<Mean, 2> averaged(const Layer& in, const Recipe& recipe, int draws) {
  const Gradients expected = gradients(in, in.run(recipe));
  std::vector<double> dx(expected.dx.size()), dw(expected.dw.size());
  for (int s = 1; s <= draws; ++s) {
    const LinearResult r = in.run(recipe, cpu_kernels(), static_cast<std::uint64_t>(s));
    for (std::size_t i = 0; i < dx.size(); ++i) dx[i] += r.dgrad.out.f32()[i];
    for (std::size_t i = 0; i < dw.size(); ++i) dw[i] += r.wgrad.out.f32()[i];
  }
  return {Mean(dx, expected.dx, draws), Mean(dw, expected.dw, draws)};
}

/// Small integers in rows and columns of 16 with a 6 in each: te of an amax of 2688 quantizes it without an error.
Matrix grid(std::int64_t rows, std::int64_t cols, float unit) {
  constexpr float values[] = {6, 0.5f, 4, 1, 3, 1.5f, 0, 2};
  Matrix x(rows, cols);
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < cols; ++j)
      x.f32()[i * cols + j] = ((i * 5 + j * 3) % 4 < 2 ? unit : -unit) * values[(i + j) % 8];
  return x;
}

}  // namespace

/// Sizes whose entry is a power of two. dY is of integers up to 6, so that no sum of 64 takes more than BF16's 8 bits.
TEST_CASE("quartet2: the rotations cancel in exact arithmetic") {
  Matrix dy = grid(64, 64, 1);
  for (std::int64_t i = 0; i < 64 * 64; ++i) dy.f32()[i] = std::trunc(dy.f32()[i] / 3);
  const Layer in{grid(64, 48, 448), grid(64, 48, 448), dy};
  for (const int rht : {16, 64}) {
    CAPTURE(rht);
    Recipe r = quartet2(rht);
    r.fprop.a.dialect = r.fprop.b.dialect = "te";
    const LinearResult made = in.run(r);
    const Gradients expected = gradients(in, made);
    CHECK(product(made.dgrad.terms[0]) == expected.dx);
    CHECK(product(made.wgrad.terms[0]) == expected.dw);
    CHECK(product(dy.view(), transpose(in.w.view()).view()) == expected.dx);  // te had no error
  }
}

/// 128 c_a c_b for c_a = BF16(2^-3.5) and c_b = FP32(2^-3.5), of numbers whose transforms FP32 and BF16 hold.
TEST_CASE("quartet2: a transform of 128 scales products by what its rounded entries leave") {
  constexpr double scale = 128 * 0x1.6ap-4 * 0x1.6a09e6p-4;
  CHECK(scale == doctest::Approx(1 - 1.07e-4).epsilon(1e-6));
  const Layer in = gaussian_layer(128, 128, 128);
  const LinearResult made = in.run(quartet2());
  const Gradients expected = gradients(in, made);
  const std::vector<double> dx = product(made.dgrad.terms[0]);
  // BF16's rounding of dY's transform, 2^-9 at most of each of 2^14 numbers, is no part of it: 2^-16 of its standard error.
  CHECK(std::abs(inner(dx, expected.dx) / inner(expected.dx, expected.dx) - scale) < 5 * 0x1p-16);
}

TEST_CASE("quartet2: the backward pass quantizes what fprop's codes decode to") {
  const Kernels& k = cpu_kernels();
  const Layer in = gaussian_layer(128, 128, 128);
  const LinearResult made = in.run(quartet2(), k, 9);
  const Hadamard h{.signs = Signs::seed, .size = 128, .along = Along::tokens, .seed = 9};
  const Term& forward = made.fprop.terms[0];
  CHECK(forward.a.quantized->spec.dialect == &dialects::quartet2::info);
  const auto rotated = [&](const Operand& o) {
    return transpose(k.hadamard(decoded(o).view(), h).view()).bytes;
  };
  CHECK((made.wgrad.terms[0].b.transformed.bytes == rotated(forward.a)));
  CHECK((made.dgrad.terms[0].b.transformed.bytes == rotated(forward.b)));
  CHECK(made.dgrad.terms[0].transform == "Hadamard transform of 128, signs seed");
}

TEST_CASE("quartet2: operands are MS-EDEN by group and stream") {
  const Kernels& k = cpu_kernels();
  const Layer in = gaussian_layer(64, 48, 96);
  for (const auto& [name, group] : {std::pair{"16", 16}, {"d", 64}, {"256", 256}}) {
    const LinearResult made = in.run(quartet2(64, name));
    std::uint64_t stream = 2;
    for (const Pass* pass : {&made.dgrad, &made.wgrad})
      for (const Operand* o : {&pass->terms[0].a, &pass->terms[0].b}) {
        const Eden eden{group, {.seed = 5, .stream = stream++}};
        CHECK(compare(k.quantize_eden(o->transformed.view(), eden, {}), *o->quantized).equal());
      }
  }
}

/// Each operand that is rounded to nearest loses 0.45 % of its length (algorithms.md 7.7), which the correction gives back.
TEST_CASE("quartet2: the error of mean gradients falls as draws grow and without correction they shrink" *
          doctest::test_suite("sweep")) {
  const Layer in = gaussian_layer(64, 64, 64);
  Recipe uncorrected = quartet2(64);
  for (GemmRecipe* g : {&uncorrected.dgrad, &uncorrected.wgrad}) g->scheme = {};
  const auto one = averaged(in, quartet2(64), 1), many = averaged(in, quartet2(64), 64),
             short_ones = averaged(in, uncorrected, 64);
  for (const std::size_t i : {0u, 1u}) {
    // 1 / 64, and what scatters it: sums over 2^12 numbers, which a rotation ties together by 64.
    CHECK(many[i].error * 64 < 1.5 * one[i].error);
    const double noise = 5 * std::sqrt(many[i].error / 4096);
    CHECK(std::abs(many[i].along - 1) < noise);
    CHECK(short_ones[i].along < 1 - 4 * noise);
  }
}

TEST_CASE("quartet2: bytes are the reference's on every layer for ragged shapes and any number of threads") {
  const Layer ragged = gaussian_layer(37, 20, 12);
  Recipe smaller = quartet2(16, "16");
  smaller.fprop.a.dialect = smaller.fprop.b.dialect = "quartet2_4over6";
  layer::check_every_layer(ragged, *find_recipe("quartet2"));
  layer::check_every_layer(ragged, smaller);
}

TEST_CASE("quartet2: recipes that it cannot lower") {
  const auto refused = [](const auto& spoil, const char* why) {
    Recipe r = *find_recipe("quartet2");
    spoil(r);
    CHECK_THROWS_WITH_AS(validate(r), doctest::Contains(why), std::invalid_argument);
  };
  refused([](Recipe& r) { r.fprop.scheme = r.dgrad.scheme; }, "fprop: quartet2 is of dgrad and wgrad");
  refused([](Recipe& r) { r.dgrad.a.rht = r.dgrad.b.rht = 8; },
          "dgrad: quartet2 takes dialect quartet2_eden");
  refused([](Recipe& r) { r.wgrad.b.dialect = "te"; }, "wgrad: quartet2 takes dialect quartet2_eden");
  refused([](Recipe& r) { r.wgrad.b.tensor_scale = TensorScale::row; }, "wgrad: quartet2 takes dialect");
  refused([](Recipe& r) { r.wgrad.b.signs = Signs::none; },
          "wgrad: quartet2 transforms both operands by the same");
  refused([](Recipe& r) { r.wgrad.scheme.options["corr_group"] = "32"; },
          "quartet2's option corr_group: expected one of 16, d, 256, found '32'");
}

namespace {

struct Rounded {
  std::uint32_t code;
  float value;
};
Rounded rounded(float x, Format format) {
  Rounded r{};
  reference_kernels().encode({&x, 1}, {.format = format}, {&r.code, 1});
  reference_kernels().decode({&r.code, 1}, format, {&r.value, 1});
  return r;
}

/// One candidate of the authors' four_six_fp4_kernel as it reads, in scalars: two threads of eight columns each share a block
/// by a shuffle.
struct Candidate {
  std::uint32_t scale;
  std::vector<std::uint32_t> codes{};
  float error = 0;

  Candidate(const float* x, float most, float one_over, float tensor_scale) {
    const Rounded s = rounded(most * one_over * rcp_approx_ftz(tensor_scale), Format::ue4m3);
    const float factor = rcp_approx_ftz((s.value == 0 ? 1 : s.value) * tensor_scale),
                descale = s.value * tensor_scale;
    scale = s.code;
    for (int thread = 0; thread < 2; ++thread) {
      float sum[2] = {0, 0};
      for (int j = 8 * thread; j < 8 * thread + 8; ++j) {
        const Rounded q = rounded(x[j] * factor, Format::e2m1);
        const float d = std::fma(q.value, -descale, x[j]);
        sum[j % 2] = std::fma(d, d, sum[j % 2]);
        codes.push_back(q.code);
      }
      error += sum[0] + sum[1];
    }
  }
};

/// Of how many blocks 4 was chosen.
int check_forward(const Matrix& x, const Dialect& dialect, bool chooses) {
  const BlockScaledTensor t = reference_kernels().quantize(x.view(), default_spec(dialect), {});
  const float amax = cpu_kernels().amax(x.view(), dialect),
              scale = amax * (chooses ? 1.f / 256.f : 1.f / 448.f) * (1.f / 6.f);
  int fours = 0;
  CHECK(t.global[0] == scale);
  for (std::size_t b = 0; b < t.scales.size(); ++b) {
    const float* v = x.f32() + 16 * b;
    float most = 0;
    for (int j = 0; j < 16; ++j) most = std::max(most, std::fabs(v[j]));
    const Candidate six(v, most, 1.f / 6.f, scale), four(v, most, 1.f / 4.f, scale);
    const bool takes_four = chooses && four.error < six.error;
    const Candidate& chosen = takes_four ? four : six;
    fours += takes_four;
    CHECK(t.scales[b] == chosen.scale);
    for (std::size_t j = 0; j < 16; ++j)
      CHECK((t.codes[8 * b + j / 2] >> (j % 2 * 4) & 15u) == chosen.codes[j]);
  }
  return fours;
}

}  // namespace

TEST_CASE("quartet2: the forward quantizers are the authors' kernel written out") {
  using dialects::quartet2, dialects::quartet2_4over6;
  const Matrix x = fp32(converted(gaussian::matrix(64, 64, 4).view(), Dtype::bf16, cpu_kernels()).view());
  check_forward(x, quartet2::info, false);
  CHECK(check_forward(x, quartet2_4over6::info, true) > 64);
}
