#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "tests/gaussian.hpp"
#include "tests/layer.hpp"

using namespace nvfp4;
using layer::gaussian_layer;
using layer::Layer;

/// Gradients in MXFP4: stochastic rounding that is never cut, after a transform with drawn signs.
namespace {

constexpr const Dialect& unbiased = dialects::mxfp4_unbiased::info;

/// Two blocks of 32: every element with each of the 256 coins is the caller's to ask for.
BlockScaledTensor quantized(const Matrix& x, std::uint32_t coin) {
  const std::vector<std::uint32_t> words(static_cast<std::size_t>(x.rows * ((x.cols + 15) / 16 * 4)),
                                         coin * 0x01010101);
  QuantizeSpec spec = default_spec(unbiased);
  spec.stochastic = Stochastic{.from_caller = true, .words = words};
  return cpu_kernels().quantize(x.view(), spec, {});
}

double scale_of(const BlockScaledTensor& t, std::int64_t row) {
  return std::ldexp(1, t.scales[static_cast<std::size_t>(row)] - 127);
}

/// In each row a block whose amax is a BF16 number, of every significand and of exponents far apart, and other elements: its
/// fractions by 31sts.
Matrix blocks_of_every_significand() {
  constexpr int exponents[] = {-127, -126, -100, -3, 0, 7, 100, 120};
  Matrix x(128 * 8, 32);
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (int j = 0; j < 32; ++j) {
      const float amax = std::ldexp(1 + static_cast<float>(i % 128) / 128, exponents[i / 128]);
      x.f32()[i * 32 + j] = (j % 2 ? -amax : amax) * (static_cast<float>(31 - j) / 31);
    }
  return x;
}

/// The mean over all coins of an element's value at `prescale`, in units of its block's scale; by the library's rounding.
double mean_of(double y, float prescale) {
  const std::vector<float> values(256, static_cast<float>(y) * prescale);
  std::vector<std::uint32_t> coins(256), codes(256);
  for (std::uint32_t r = 0; r < 256; ++r) coins[r] = r;
  cpu_kernels().encode_stochastic(values, coins, {}, codes);
  std::vector<float> rounded(256);
  cpu_kernels().decode(codes, Format::e2m1, rounded);
  double sum = 0;
  for (const float v : rounded) sum += v;
  return sum / 256 / prescale;
}

/// ||mean over seeds - exact||^2 / ||exact||^2 of dX.
double averaged_error(const Layer& in, const Recipe& recipe, int draws) {
  const Matrix exact = in.run(*find_recipe("bf16")).dgrad.out;
  std::vector<double> sum(static_cast<std::size_t>(exact.rows * exact.cols));
  for (int s = 1; s <= draws; ++s) {
    const Matrix dx = in.run(recipe, cpu_kernels(), static_cast<std::uint64_t>(s)).dgrad.out;
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += dx.f32()[i];
  }
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < sum.size(); ++i) {
    error += std::pow(sum[i] / draws - exact.f32()[i], 2);
    norm += std::pow(exact.f32()[i], 2);
  }
  return error / norm;
}

}  // namespace

TEST_CASE("mxfp4_train: no element reaches 6 before it is rounded") {
  const Matrix x = blocks_of_every_significand();
  const BlockScaledTensor t = quantized(x, 255);
  double most = 0;
  for (std::int64_t i = 0; i < x.rows; ++i) {
    const double y = 0.75 * x.f32()[i * 32] / scale_of(t, i);
    most = std::max(most, y);
    CHECK(y < 6);
    if (i >= 3 * 128) CHECK(y >= 3);  // but where 2^-127 is the least scale
  }
  CHECK(most == 6 * 255. / 256);
}

/// Up to the 256th of a step that 8 bits leave. At 1 in place of 3/4 the largest elements are cut.
TEST_CASE("mxfp4_train: the mean over all coins is the element") {
  const Matrix x = blocks_of_every_significand();
  std::vector<double> sums(static_cast<std::size_t>(x.rows * 32));
  for (std::uint32_t coin = 0; coin < 256; ++coin) {
    const Matrix back = cpu_kernels().dequantize(quantized(x, coin));
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += back.f32()[i] / 256.;
  }
  const BlockScaledTensor t = quantized(x, 0);
  const auto step = [](double y) { return y < 2 ? 0.5 : y < 4 ? 1 : 2; };
  int cut = 0;
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t j = 0; j < 32; ++j) {
      const double unit = scale_of(t, i), y = std::fabs(x.f32()[i * 32 + j]) / unit;
      const double mean = std::fabs(sums[static_cast<std::size_t>(i * 32 + j)]) / unit;
      const double left = step(0.75 * y) / 256 / 0.75, rounding = y * 0x1p-22;  // of 4/3, and of its product
      CHECK(mean <= y + rounding);
      CHECK(mean >= y - left - rounding);
      if (j != 0 || i / 128 != 4) continue;
      CHECK(mean_of(y, 0.75f) == doctest::Approx(mean).epsilon(1e-6));
      cut += mean_of(y, 1) < y - 2. / 256;
    }
  CHECK(cut == 63);  // of 128 significands, those above 3/2 but for the last that 8 bits round
}

TEST_CASE("mxfp4_train: fprop is bf16's, and 16/9 goes to alpha") {
  const Layer in = gaussian_layer(64, 64, 64);
  const Recipe& recipe = *find_recipe("mxfp4_train");
  const LinearResult made = in.run(recipe);
  CHECK(layer::equal(made.fprop, in.run(*find_recipe("bf16")).fprop));
  for (const Pass* pass : {&made.dgrad, &made.wgrad}) {
    CHECK(pass->terms[0].scaling.alpha == (4 / 3.f) * (4 / 3.f));
    CHECK(pass->terms[0].transform == "Hadamard transform of 64, signs seed");
    const auto &a = *pass->terms[0].a.quantized, &b = *pass->terms[0].b.quantized;
    CHECK(a.spec.stochastic->random.stream != b.spec.stochastic->random.stream);
    CHECK(a.spec.stochastic->random.seed == b.spec.stochastic->random.seed);
  }
}

/// The error of a mean of B unbiased draws is 1/B of one's; to nearest, or without 3/4, it is not.
TEST_CASE("mxfp4_train: mean gradients tend to the product and those of RNE do not" *
          doctest::test_suite("sweep")) {
  const Layer in = gaussian_layer(64, 32, 64);
  const Recipe& recipe = *find_recipe("mxfp4_train");
  Recipe fixed_signs = recipe, nearest;
  for (OperandRecipe* o : {&fixed_signs.dgrad.a, &fixed_signs.dgrad.b}) o->signs = Signs::none;
  nearest = fixed_signs;
  for (OperandRecipe* o : {&nearest.dgrad.a, &nearest.dgrad.b}) o->stochastic = false;
  const double one = averaged_error(in, recipe, 1), many = averaged_error(in, recipe, 64),
               fixed = averaged_error(in, fixed_signs, 64), stalled = averaged_error(in, nearest, 1);
  CHECK(many * 64 < 1.5 * one);
  CHECK(many * 64 > one / 1.5);
  CHECK(fixed * 64 < 1.5 * one);
  CHECK(stalled > 10 * many);
}

TEST_CASE(
    "mxfp4_train: bytes are the reference's on every layer for ragged shapes and any number of threads") {
  layer::check_every_layer(gaussian_layer(37, 20, 12), *find_recipe("mxfp4_train"));
}
