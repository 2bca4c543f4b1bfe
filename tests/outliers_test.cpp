#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include <boost/multiprecision/cpp_int.hpp>
#include <nvfp4/nvfp4.hpp>

using namespace nvfp4;
using boost::multiprecision::cpp_rational;

/// Outlier diagnostics.
namespace {

Matrix matrix(std::int64_t rows, const std::vector<float>& values) {
  Matrix x(rows, std::ssize(values) / rows);
  std::ranges::copy(values, x.f32());
  return x;
}

/// Integers whose mean is one, so that binary64 rounds nothing but the quotient at the end.
std::vector<float> integers(unsigned seed, float mean) {
  std::mt19937 random(seed);
  std::vector<float> values;
  for (int i = 0; i < 40; ++i) {
    const auto v = static_cast<float>(random() % 25);
    values.push_back(mean + v);
    values.push_back(mean - v);
  }
  return values;
}

cpp_rational exact_kurtosis(const std::vector<float>& values) {
  const cpp_rational n(values.size());
  cpp_rational mean = 0, second = 0, fourth = 0;
  for (const float v : values) mean += cpp_rational(v) / n;
  for (const float v : values) {
    const cpp_rational square = (cpp_rational(v) - mean) * (cpp_rational(v) - mean);
    second += square;
    fourth += square * square;
  }
  return n * fourth / (second * second);
}

bool is_nearest(double found, const cpp_rational& expected) {
  const auto error = [&](double x) { return cpp_rational(abs(cpp_rational(x) - expected)); };
  return error(found) <= error(std::nextafter(found, -1e300)) &&
         error(found) <= error(std::nextafter(found, 1e300));
}

}  // namespace

TEST_CASE("outliers: kurtosis is the population's, 3 for a Gaussian, rounded once where its sums are exact") {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const std::vector<float> values = integers(seed, 0);
    CHECK(is_nearest(kurtosis(matrix(4, values).view()), exact_kurtosis(values)));
    CHECK(kurtosis(matrix(8, integers(seed, 1000)).view()) == kurtosis(matrix(4, values).view()));
  }
  CHECK(kurtosis(matrix(1, {1, -1, 1, -1}).view()) == 1);
  CHECK(kurtosis(matrix(2, {0, 0, 0, 4}).view()) == 4 * 84. / 144);
  std::vector<float> spike(1024);
  spike[5] = 1024;  // mean 1: (1023 + 1023^4) 1024 / (1023 + 1023^2)^2 = (1023^3 + 1) / (1023 * 1024)
  CHECK(kurtosis(matrix(1, spike).view()) == (1023. * 1023 * 1023 + 1) / (1023. * 1024));
  CHECK(std::isnan(kurtosis(matrix(1, {7, 7, 7}).view())));
  CHECK(std::isnan(kurtosis(Matrix(0, 4).view())));
}

TEST_CASE("outliers: the largest magnitudes, descending") {
  const Matrix x = matrix(2, {1, -9, 3, 3, 0, 8});
  CHECK(top_magnitudes(x.view(), 4) == std::vector<float>{9, 8, 3, 3});
  CHECK(top_magnitudes(x.view(), 100).size() == 6);
  CHECK(top_magnitudes(x.view(), 0).empty());
  CHECK(top_magnitudes(converted(x.view(), Dtype::bf16, cpu_kernels()).view(), 1) == std::vector<float>{9});
}

TEST_CASE("outliers: a block's spike is its maximum over its root mean square") {
  Matrix x(2, 20);
  x.f32()[3] = -5;
  x.f32()[17] = 7;
  for (int j = 0; j < 16; ++j) x.f32()[20 + j] = j % 2 ? 3.f : -3.f;
  CHECK(block_spikes(x.view()) == std::vector<double>{4, 2, 1, 0});  // a row's second block has four elements
  CHECK(block_spikes(Matrix(3, 0).view()).empty());
}

/// Under tensor amax 2688 te's tensor scale is 1, and a block with a 6 has scale 1: what is no larger than a quarter is
/// flushed, a tie to even. A block below 6 * 2^-10 has scale 0.
TEST_CASE("outliers: flush to zero counts nonzero elements that decode to zero") {
  std::vector<float> values(48);
  values[0] = 2688;
  values[16] = 6;
  values[17] = 0.25f;
  values[18] = -0.25f;
  values[19] = 0.2578125f;
  CHECK(flush_to_zero_rate(matrix(1, values).view(), {}) == 2. / 5);
  values[32] = 0.004f;
  values[33] = 0.001f;
  CHECK(flush_to_zero_rate(matrix(1, values).view(), {}) == 4. / 7);
  CHECK(flush_to_zero_rate(Matrix(2, 16).view(), {}) == 0);
  CHECK_THROWS_AS(flush_to_zero_rate(Matrix(2, 16).view(), {.block = {1, 32}}), std::invalid_argument);
}

TEST_CASE("outliers: the 99.9th percentile is the smallest magnitude that 99.9 % do not exceed") {
  const auto up_to = [](int n) {
    std::vector<float> values;
    for (int i = 0; i < n; ++i) values.push_back(static_cast<float>(i % 2 ? i + 1 : -i - 1));
    std::shuffle(values.begin(), values.end(), std::mt19937(3));
    return max_over_p999(matrix(1, values).view());
  };
  CHECK(up_to(1) == 1);
  CHECK(up_to(999) == 1);
  CHECK(up_to(1000) == 1000. / 999);
  CHECK(up_to(1999) == 1999. / 1998);
  CHECK(up_to(5000) == 5000. / 4995);
  std::vector<float> one(1000);
  CHECK(std::isnan(max_over_p999(matrix(1, one).view())));
  one[7] = 1;
  CHECK(max_over_p999(matrix(1, one).view()) == std::numeric_limits<double>::infinity());
  CHECK(std::isnan(max_over_p999(Matrix(4, 0).view())));
}

TEST_CASE("outliers: channels of the largest scores, and those that stay") {
  using Channels = std::vector<std::int64_t>;
  const std::vector<double> scores{1, 5, 2, 5, 0, 5, 2};
  CHECK(top_channels(scores, 1) == Channels{1});
  CHECK(top_channels(scores, 2) == Channels{1, 3});
  CHECK(top_channels(scores, 4) == Channels{1, 2, 3, 5});
  CHECK(top_channels(scores, 0).empty());
  CHECK(top_channels(scores, 9).size() == 7);
  CHECK(persistent(Channels{1, 2, 3, 5}, Channels{0, 2, 5, 9}) == Channels{2, 5});
  CHECK(persistent(Channels{9, 2, 7}, Channels{7, 9, 1}) == Channels{7, 9});
  CHECK(persistent(Channels{1}, {}).empty());
}

TEST_CASE("outliers: what is not finite is named") {
  Matrix x = matrix(2, {1, 2, 3, 4, 5, 6});
  const std::function<void()> all[] = {
      [&] { kurtosis(x.view()); }, [&] { top_magnitudes(x.view(), 1); }, [&] { block_spikes(x.view()); },
      [&] { flush_to_zero_rate(x.view(), {}); }, [&] { max_over_p999(x.view()); }};
  for (const float bad : {std::numeric_limits<float>::infinity(), NAN}) {
    x.f32()[4] = bad;
    for (const auto& act : all)
      CHECK_THROWS_WITH_AS(act(), "element (1, 1): expected a finite number", std::invalid_argument);
  }
}

TEST_CASE("outliers: results depend on no thread count") {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  Matrix x(67, 131);
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) x.f32()[i] = normal(random);
  const auto all = [&] {
    std::vector<double> found = block_spikes(x.view());
    found.insert(found.end(),
                 {kurtosis(x.view()), flush_to_zero_rate(x.view(), {}), max_over_p999(x.view())});
    return found;
  };
  const int before = threads();
  set_threads(1);
  const std::vector<double> expected = all();
  for (const int n : {2, 7}) {
    set_threads(n);
    CHECK(all() == expected);
  }
  set_threads(before);
}
