#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "tests/cpu_tables.hpp"
#include "tests/scattered.hpp"

using namespace nvfp4;

/// MS-EDEN: rounding to nearest whose loss of length goes into the block scales.
namespace {

constexpr const Dialect& nearest = dialects::quartet2_eden::info;

void check_layers(const Matrix& x, const Eden& eden) {
  const BlockScaledTensor expected = reference_kernels().quantize_eden(x.view(), eden, {});
  for (const Kernels* kernels : cpu_tables()) {
    CAPTURE(kernels->name);
    CHECK(compare(expected, kernels->quantize_eden(x.view(), eden, {})).equal());
  }
}

template <class Draw>
Matrix random_matrix(std::int64_t rows, std::int64_t cols, unsigned seed, Draw draw) {
  std::mt19937 random(seed);
  Matrix x(rows, cols);
  for (std::int64_t i = 0; i < rows * cols; ++i) x.f32()[i] = static_cast<float>(draw(random));
  return x;
}

Matrix gaussian(std::int64_t rows, std::int64_t cols, unsigned seed) {
  return random_matrix(rows, cols, seed, std::normal_distribution<double>());
}

/// The code of element (i, j) as a number.
double element(const BlockScaledTensor& t, std::int64_t i, std::int64_t j) {
  constexpr double grid[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  const int code = t.codes[static_cast<std::size_t>(i * t.row_bytes() + j / 2)] >> (j % 2 * 4) & 15;
  return code & 8 ? -grid[code & 7] : grid[code & 7];
}

std::uint8_t scale_code(const BlockScaledTensor& t, std::int64_t i, std::int64_t b) {
  return t.scales[static_cast<std::size_t>(i * t.blocks_per_row() + b)];
}

double e4m3(int code) { return code < 8 ? std::ldexp(code, -9) : std::ldexp(8 + code % 8, code / 8 - 10); }

/// S of the columns [first, last), in double.
double correction(const Matrix& y, const BlockScaledTensor& q, std::int64_t i, std::int64_t first,
                  std::int64_t last) {
  double yy = 0, yq = 0;
  for (std::int64_t j = first; j < last; ++j) {
    const double unit = e4m3(scale_code(q, i, j / 16)) * q.global[0], scaled = y.f32()[i * y.cols + j] / unit;
    yy += scaled * scaled;
    yq += scaled * element(q, i, j);
  }
  return yq == 0 ? 1 : yy / yq;
}

/// E[Q(x)_k] for k = 0 and 1, where x = e0 + e1 / 10 is rotated by d signs and quantized by `quantize`, each row with coins of
/// its own. Every sign pattern has the same mean: a pattern either swaps even and odd columns or negates.
template <class Quantize>
std::array<double, 2> mean_of_two(int d, std::uint64_t seed, const Quantize& quantize) {
  const std::int64_t rows = (std::int64_t{1} << 20) / d;
  const Hadamard h{.signs = Signs::seed, .size = d, .seed = seed};
  Matrix x(1, d), rotated(rows, d);
  x.f32()[0] = 1, x.f32()[1] = 0.1f;
  const Matrix row = cpu_kernels().hadamard(x.view(), h);
  for (std::int64_t i = 0; i < rows; ++i) std::copy_n(row.f32(), d, rotated.f32() + i * d);
  const Matrix back = cpu_kernels().dequantize(quantize(rotated));
  std::array<double, 2> mean{};
  for (std::int64_t i = 0; i < rows; ++i)
    for (int k = 0; k < 2; ++k)
      for (int j = 0; j < d; ++j) {
        const double y = back.f32()[i * d + j];
        mean[static_cast<std::size_t>(k)] += is_negative(sign_words(h), k, j) ? -y : y;
      }
  for (double& m : mean) m /= static_cast<double>(rows) * std::sqrt(d);
  return mean;
}

/// What 2^16 block scales leave of the coins' noise. A coin moves a scale by a gap of 1/8 at most, so that its standard
/// deviation is 1/16 at most; and so with five of them.
constexpr double noise = 5. / 16 / 256;

/// MS-EDEN without its correction, and with one that is rounded to nearest.
BlockScaledTensor uncorrected(const Matrix& y, const Eden&) {
  return cpu_kernels().quantize(y.view(), default_spec(nearest), {});
}
BlockScaledTensor nearest_scales(const Matrix& y, const Eden& eden) {
  BlockScaledTensor q = uncorrected(y, eden);
  std::vector<float> wanted;
  for (std::int64_t i = 0; i < q.rows; ++i)
    for (std::int64_t b = 0; b < q.blocks_per_row(); ++b)
      wanted.push_back(static_cast<float>(e4m3(scale_code(q, i, b)) *
                                          correction(y, q, i, 16 * b / eden.group * eden.group,
                                                     16 * b / eden.group * eden.group + eden.group)));
  std::vector<std::uint32_t> codes(wanted.size());
  cpu_kernels().encode(wanted, {.format = Format::e4m3}, codes);
  for (std::size_t b = 0; b < codes.size(); ++b) q.scales[b] = static_cast<std::uint8_t>(codes[b]);
  return q;
}
BlockScaledTensor corrected(const Matrix& y, const Eden& eden) {
  return cpu_kernels().quantize_eden(y.view(), eden, {});
}

/// ||mean over draws of Q(x) - x||^2 / ||x||^2 after 1, 4, 16, ... draws.
template <class Draw>
std::vector<double> averaged_errors(const Matrix& x, int draws, const Draw& draw) {
  const auto n = static_cast<std::size_t>(x.rows * x.cols);
  std::vector<double> sum(n), errors;
  double norm = 0;
  for (std::size_t i = 0; i < n; ++i) norm += double{x.f32()[i]} * x.f32()[i];
  for (int b = 1, next = 1; b <= draws; ++b) {
    const Matrix q = draw(static_cast<std::uint64_t>(b));
    for (std::size_t i = 0; i < n; ++i) sum[i] += q.f32()[i];
    if (b != next) continue;
    next *= 4;
    double error = 0;
    for (std::size_t i = 0; i < n; ++i) error += std::pow(sum[i] / b - x.f32()[i], 2);
    errors.push_back(error / norm);
  }
  return errors;
}

/// One draw of x: rotated by 128, quantized, and rotated back.
Matrix rotated_draw(const Matrix& x, std::uint64_t seed) {
  const Kernels& k = cpu_kernels();
  const Hadamard h{.signs = Signs::seed, .size = 128, .seed = seed};
  const Matrix y = k.hadamard(x.view(), h);
  const Matrix q = k.dequantize(k.quantize_eden(y.view(), {128, {.seed = seed}}, {}));
  Matrix back = k.hadamard(q.view(), {.signs = Signs::none, .size = 128});
  for (std::int64_t i = 0; i < back.rows * back.cols; ++i)
    if (is_negative(sign_words(h), static_cast<int>(i % 128), 0)) back.f32()[i] = -back.f32()[i];
  return back;
}

}  // namespace

TEST_CASE("eden: bytes are the reference's for every group and element type and ragged shapes") {
  for (const int group : {16, 32, 64, 128, 256})
    for (const std::int64_t cols : {1, 16, 40, 257, 528})
      for (const Dtype dtype : {Dtype::fp32, Dtype::bf16, Dtype::fp16}) {
        CAPTURE(group);
        CAPTURE(cols);
        const scattered::Numbers numbers{dtype == Dtype::fp16 ? 9u : 120u, 12};
        check_layers(scattered::matrix(5, cols, dtype, numbers), {group, {.seed = 3, .stream = 7, .row = 2}});
      }
}

TEST_CASE("eden: bytes are the reference's for zeros and subnormals and what is no number") {
  for (const float odd : {0.f, -0.f, 1e-45f, 1e-42f, 0x1p-126f, 1e-20f, 3e38f,
                          std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    CAPTURE(odd);
    Matrix alone(2, 40), among = gaussian(3, 272, 4);
    alone.f32()[3] = among.f32()[18] = odd;
    for (const int group : {16, 128}) check_layers(alone, {group}), check_layers(among, {group});
    Matrix all(2, 33);
    for (std::int64_t i = 0; i < 66; ++i) all.f32()[i] = odd;
    check_layers(all, {32});
  }
  check_layers(Matrix(0, 32), {});
  check_layers(Matrix(3, 0), {});
}

TEST_CASE("eden: no number of threads shows") {
  const int before = threads();
  const Matrix x = gaussian(37, 600, 9);
  const BlockScaledTensor expected = reference_kernels().quantize_eden(x.view(), {64}, {});
  for (const int n : {1, 2, 7}) {
    set_threads(n);
    CHECK(compare(expected, cpu_kernels().quantize_eden(x.view(), {64}, {})).equal());
  }
  set_threads(before);
}

/// By an oracle in double: codes and tensor scale stay, and a block scale becomes a neighbour of S g.
TEST_CASE("eden: each scale becomes one of the two E4M3 numbers beside S times itself") {
  const Matrix y = gaussian(24, 400, 5);
  for (const int group : {16, 64, 128, 256}) {
    const BlockScaledTensor q = uncorrected(y, {}), c = corrected(y, {group, {.seed = 11}});
    CHECK(q.codes == c.codes);
    CHECK(q.global == c.global);
    int ups = 0, all = 0;
    for (std::int64_t i = 0; i < y.rows; ++i)
      for (std::int64_t b = 0; b < q.blocks_per_row(); ++b) {
        const std::int64_t first = 16 * b / group * group,
                           last = std::min<std::int64_t>(first + group, y.cols);
        const double wanted = e4m3(scale_code(q, i, b)) * correction(y, q, i, first, last);
        const int code = scale_code(c, i, b);
        const double rounding = wanted * 0x1p-18;  // of chains and sums of up to 256 positive terms
        CHECK(e4m3(code + 1) > wanted - rounding);
        CHECK(e4m3(code - 1) < wanted + rounding);
        ups += e4m3(code) > wanted, ++all;
      }
    CHECK(4 * ups > all);  // both neighbours are taken
    CHECK(4 * ups < 3 * all);
  }
}

/// algorithms.md 7.1: Quartet II's corollary that the mean is x is false at every d = 16 2^k, by the same exact numbers; a
/// quantizer that does not correct, or rounds what it corrected to nearest, has other means.
TEST_CASE("eden: the mean of e0 + e1 / 10 is 101/102 of e0 and 101/510 of e1" *
          doctest::test_suite("sweep")) {
  for (const int d : {16, 128})
    for (const std::uint64_t seed : {1u, 2u, 3u}) {
      CAPTURE(d);
      const auto by = [&](auto quantize) {
        return mean_of_two(d, seed, [&](const Matrix& y) { return quantize(y, Eden{d, {.seed = seed}}); });
      };
      const std::array<double, 2> mean = by(corrected);
      CHECK(std::abs(mean[0] - 101. / 102) < noise);
      CHECK(std::abs(mean[1] - 101. / 510) < noise);
      CHECK(std::abs(by(uncorrected)[0] - 101. / 102) > 10 * noise);
      CHECK(std::abs(by(nearest_scales)[0] - 101. / 102) > 10 * noise);
    }
}

/// algorithms.md 8, T6: the sheet's figures have three digits; the blocks' own scatter is added.
TEST_CASE("eden: relative squared errors on N(0 1)" * doctest::test_suite("sweep")) {
  const Matrix y = gaussian(1024, 4096, 6);
  const auto check = [&](const BlockScaledTensor& q, double expected) {
    const Matrix back = cpu_kernels().dequantize(q);
    double error = 0, square = 0, norm = 0;
    const std::int64_t groups = y.rows * y.cols / 256;
    for (std::int64_t g = 0; g < groups; ++g) {
      double one = 0;
      for (std::int64_t i = 256 * g; i < 256 * g + 256; ++i) {
        one += std::pow(double{back.f32()[i]} - y.f32()[i], 2);
        norm += double{y.f32()[i]} * y.f32()[i];
      }
      error += one, square += one * one;
    }
    const auto n = static_cast<double>(groups);
    const double deviation = std::sqrt((square - error * error / n) * 1.0) / norm;
    CAPTURE(error / norm);
    CHECK(std::abs(error / norm - expected) < 0.5e-5 + 5 * deviation);
    CHECK(5 * deviation < 1e-4);
  };
  check(uncorrected(y, {}), 8.97e-3);
  check(corrected(y, {16}), 9.31e-3);
  check(corrected(y, {128}), 9.73e-3);
}

/// algorithms.md 7.1. The error of a mean of B unbiased draws is 1/B of one draw's; te's stochastic rounding meets its bias.
TEST_CASE("eden: the error of a mean falls as its draws grow and stochastic te stalls" *
          doctest::test_suite("sweep")) {
  const Matrix x = random_matrix(16, 128, 8, std::student_t_distribution<double>(3));
  const std::vector<double> eden =
      averaged_errors(x, 1024, [&](std::uint64_t seed) { return rotated_draw(x, seed); });
  const std::vector<double> te = averaged_errors(x, 1024, [&](std::uint64_t seed) {
    const Kernels& k = cpu_kernels();
    QuantizeSpec spec;
    spec.stochastic = Stochastic{.random = {.seed = seed}};
    return k.dequantize(k.quantize(x.view(), spec, {}));
  });
  for (std::size_t i = 1; i < eden.size(); ++i) {
    CAPTURE(i);
    const double share = std::pow(4, static_cast<double>(i));
    CHECK(eden[i] * share < 1.5 * eden[0]);
    CHECK(eden[i] * share > eden[0] / 1.5);
  }
  CHECK(te[5] * 1024 > 4 * te[0]);
  CHECK(2 * te[5] > te[4]);
  CHECK(eden[5] < te[5]);
}

TEST_CASE("eden: groups that no layer has") {
  std::vector<const Kernels*> layers = cpu_tables();
  layers.push_back(&reference_kernels());
  for (const int group : {0, 8, 24, 48, 512, -16})
    for (const Kernels* k : layers)
      CHECK_THROWS_WITH_AS(k->quantize_eden(Matrix(1, 32).view(), {group}, {}),
                           "a correction is shared by 16, 32, 64, 128 or 256 columns", std::invalid_argument);
}
