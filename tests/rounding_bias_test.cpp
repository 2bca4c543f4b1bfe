#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include <boost/rational.hpp>
#include <nvfp4/nvfp4.hpp>

using namespace nvfp4;

/// What stochastic rounding does to means: which quantizers are unbiased, and the exact examples that show which are
/// not.
namespace {

using Rational = boost::rational<std::int64_t>;

constexpr Rational grid[] = {0, {1, 2}, 1, {3, 2}, 2, 3, 4, 6};

/// RNE to E2M1 through the library, of a value that FP32 may round without passing a tie.
Rational nearest(Rational y) {
  const float value = boost::rational_cast<float>(y);
  std::uint32_t code;
  cpu_kernels().encode({&value, 1}, {}, {&code, 1});
  return code & 8 ? -grid[code & 7] : grid[code & 7];
}

/// E[Q(x) / x] of the largest element of one block whose other elements are 0, over a block of N(0, 1) numbers.
struct Bias {
  double mean, standard_error;
};

/// The mean over all 256 coins of each block's largest element, relative to it.
Bias bias_of_maxima(const Dialect& dialect, int blocks) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  Matrix x(blocks, 16);
  for (std::int64_t i = 0; i < 16 * blocks; ++i) x.f32()[i] = normal(random);
  std::vector<double> sums(static_cast<std::size_t>(blocks));
  for (std::uint32_t coin = 0; coin < 256; ++coin) {
    const std::vector<std::uint32_t> words(static_cast<std::size_t>(4 * blocks), coin * 0x01010101);
    QuantizeSpec spec = default_spec(dialect);
    spec.stochastic = Stochastic{.from_caller = true, .words = words};
    const Matrix back = cpu_kernels().dequantize(cpu_kernels().quantize(x.view(), spec, {}));
    for (int b = 0; b < blocks; ++b) {
      int most = 16 * b;
      for (int i = 16 * b; i < 16 * b + 16; ++i)
        if (std::abs(x.f32()[i]) > std::abs(x.f32()[most])) most = i;
      sums[static_cast<std::size_t>(b)] += double{back.f32()[most]} / x.f32()[most] / 256;
    }
  }
  double mean = 0, square = 0;
  for (const double s : sums) mean += (s - 1) / blocks;
  for (const double s : sums) square += (s - 1 - mean) * (s - 1 - mean) / blocks;
  return {mean, std::sqrt(square / blocks)};
}

}  // namespace

/// algorithms.md 0.5: on N(0, 1), te's largest elements shrink by 1.18 %, because RNE of a block scale may leave them
/// beyond 6; with 16/17 of the range, or with scales rounded up, only the 8 bits' own 1/512 of a step remains.
TEST_CASE("rounding bias: of block maxima by headroom" * doctest::test_suite("sweep")) {
  constexpr int blocks = 12000;
  const Bias te = bias_of_maxima(dialects::te::info, blocks);
  CHECK(std::abs(te.mean + 0.0118) < 5 * te.standard_error + 0.00005);  // the figure has two more digits
  CHECK(5 * te.standard_error < 0.002);
  for (const Dialect* dialect : {&dialects::fouroversix_unbiased::info, &dialects::te_scale_up::info}) {
    const Bias b = bias_of_maxima(*dialect, blocks);
    CHECK(b.mean < 0);
    CHECK(b.mean >
          -2. / 512 / 4 - 5 * b.standard_error);  // a step of at most 2 beside an element of at least 4
  }
}

/// MS-EDEN's correction S = <y,y> / <y,Q(y)> of x = e0 + e1 / 10, over the four signs that the transform may give its
/// two elements, with a range of 6 * 16/17 and exact scales: the mean is 101/102 of e0, not 1 (algorithms.md 7.1).
TEST_CASE("rounding bias: MS-EDEN is biased at finite dimension, by exactly 1/102") {
  Rational mean0 = 0, mean1 = 0;
  for (const int s0 : {1, -1})
    for (const int s1 : {1, -1}) {
      const Rational x0 = s0, x1 = Rational(s1, 10);
      const Rational even = (x0 + x1) / 4, odd = (x0 - x1) / 4;  // eight elements each of the transform
      const Rational unit = std::max(abs(even), abs(odd)) / Rational(6 * 16, 17);
      const Rational q_even = nearest(even / unit) * unit, q_odd = nearest(odd / unit) * unit;
      const Rational s = (even * even + odd * odd) / (even * q_even + odd * q_odd);
      const Rational back0 = (q_even + q_odd) * s * 2, back1 = (q_even - q_odd) * s * 2;
      mean0 += back0 * s0 / 4, mean1 += back1 * s1 / 4;
    }
  CHECK(mean0 == Rational(101, 102));
  CHECK(mean1 != Rational(1, 10));
}

/// Four-over-six with stochastic rounding, the choice made by the realized error: one element of 1 in its block, one
/// coin for both branches. 16 bits of coin stand for its interval; the mean is 65/64 (algorithms.md 7.1).
TEST_CASE("rounding bias: a choice by realized error biases stochastic rounding, by exactly 1/64") {
  constexpr int bits = 16, coins = 1 << bits;
  const std::vector<float> branch4(coins, 64 / 17.f), branch6(coins, 96 / 17.f);
  std::vector<std::uint32_t> coin(coins), code4(coins), code6(coins);
  for (int i = 0; i < coins; ++i) coin[static_cast<std::size_t>(i)] = static_cast<std::uint32_t>(i);
  cpu_kernels().encode_stochastic(branch4, coin, {.bits = bits}, code4);
  cpu_kernels().encode_stochastic(branch6, coin, {.bits = bits}, code6);
  Rational sum = 0;
  for (std::size_t i = 0; i < code4.size(); ++i) {
    const Rational four = grid[code4[i]] * Rational(17, 64), six = grid[code6[i]] * Rational(17, 96);
    sum += abs(four - 1) < abs(six - 1) ? four : six;
  }
  // A coin of 16 bits cuts each probability, 14/17 here, to a multiple of 2^-16.
  const Rational up(coins * 14 / 17, coins);
  CHECK(sum / coins == up * Rational(17, 16) + (1 - up) * Rational(51, 64));
  CHECK(Rational(14, 17) * Rational(17, 16) + Rational(3, 17) * Rational(51, 64) == Rational(65, 64));
}
