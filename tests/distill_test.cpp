#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <boost/multiprecision/cpp_bin_float.hpp>
#include <nvfp4/nvfp4.hpp>

using namespace nvfp4;

/// Fake quantization, CKA and KL. The oracles compute by other formulas: CKA over features in integers, softmax without a
/// shift in a hundred digits.
namespace {

using Wide = boost::multiprecision::cpp_bin_float_100;

constexpr float inf = std::numeric_limits<float>::infinity();

Matrix matrix(std::int64_t rows, std::int64_t cols, const std::vector<float>& values) {
  Matrix m(rows, cols);
  std::ranges::copy(values, m.f32());
  return m;
}

Matrix gaussian(std::int64_t rows, std::int64_t cols, unsigned seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Matrix m(rows, cols);
  for (std::int64_t i = 0; i < rows * cols; ++i) m.f32()[i] = scale * normal(random);
  return m;
}

Matrix integers(std::int64_t rows, std::int64_t cols, unsigned seed) {
  std::mt19937 random(seed);
  Matrix m(rows, cols);
  for (std::int64_t i = 0; i < rows * cols; ++i) m.f32()[i] = static_cast<float>(random() % 17) - 8;
  return m;
}

std::vector<float> values(const Matrix& m) { return {m.f32(), m.f32() + m.rows * m.cols}; }

/// |A^T H B|_F^2 of integers; as many tokens as a power of two, times their number.
std::int64_t cross(const Matrix& a, const Matrix& b) {
  const auto at = [](const Matrix& m, std::int64_t i, std::int64_t j) {
    return static_cast<std::int64_t>(m.f32()[i * m.cols + j]);
  };
  std::int64_t sum = 0;
  for (std::int64_t j = 0; j < a.cols; ++j)
    for (std::int64_t k = 0; k < b.cols; ++k) {
      std::int64_t both = 0, left = 0, right = 0;
      for (std::int64_t i = 0; i < a.rows; ++i) {
        both += at(a, i, j) * at(b, i, k);
        left += at(a, i, j);
        right += at(b, i, k);
      }
      const std::int64_t centered = a.rows * both - left * right;
      sum += centered * centered;
    }
  return sum;
}

/// Of small integers and a power of two of tokens all sums are exact, and three roundings remain.
void check_exact(const Matrix& a, const Matrix& b) {
  const Wide exact = Wide(cross(a, b)) / sqrt(Wide(cross(a, a)) * Wide(cross(b, b)));
  CHECK(abs(Wide(cka(a.view(), b.view())) - exact) <= exact * Wide(0x1p-51));
}

/// A row's KL, and what it may err by.
struct Expected {
  Wide value;
  double bound;
};

Expected exact_kl(const float* t, const float* s, const std::vector<std::int64_t>& columns,
                  double temperature) {
  Wide sum_t = 0, sum_s = 0;
  double largest = 0;
  for (const std::int64_t j : columns) {
    sum_t += exp(Wide(t[j]) / temperature);
    sum_s += exp(Wide(s[j]) / temperature);
    largest = std::max({largest, std::fabs(t[j] / temperature), std::fabs(s[j] / temperature)});
  }
  Wide kl = 0;
  for (const std::int64_t j : columns) {
    const Wide p = exp(Wide(t[j]) / temperature) / sum_t, q = exp(Wide(s[j]) / temperature) / sum_s;
    kl += p * log(p / q);
  }
  const auto v = static_cast<double>(columns.size()), r = largest + std::log(v);
  return {kl, 0x1p-50 * (v + 8 + 5 * r) * (1 + r)};
}

std::string refusal(const auto& call) {
  try {
    call();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "";
}

}  // namespace

/// te under a tensor amax of 2688: a tensor scale of 1. The first block's scale is 1, too; by hand.
TEST_CASE("distill: fake_quantize is what the codes decode to, in x's type") {
  std::vector<float> x(32), expected(32);
  const float first[] = {6, 5.1f, 0.3f, -2.4f, 1.25f, 0.25f, -0.2f, 0.8f},
              made[] = {6, 6, 0.5f, -2, 1, 0, -0.f, 1};
  std::ranges::copy(first, x.begin());
  std::ranges::copy(made, expected.begin());
  x[20] = expected[20] = 2688;
  for (const Kernels* k : {&reference_kernels(), &cpu_kernels()}) {
    CHECK(values(fake_quantize(matrix(1, 32, x).view(), {}, *k)) == expected);
    const Matrix bf16 = fake_quantize(converted(matrix(1, 32, x).view(), Dtype::bf16, *k).view(), {}, *k);
    CHECK(bf16.dtype == Dtype::bf16);
    CHECK(values(converted(bf16.view(), Dtype::fp32, *k)) == expected);
  }
  QuantizeSpec bad;
  bad.block = {1, 32};
  CHECK_THROWS_AS(fake_quantize(matrix(1, 32, x).view(), bad, cpu_kernels()), std::invalid_argument);
}

/// A block amax of 6.374 gets the scale 1, the nearer of 1 and 1.125 to its sixth, so it is clipped to 6; 1e-4 gets none.
TEST_CASE("distill: the gradient's mask is zero beyond what a block can hold") {
  std::vector<float> x(64), inside(64, 1);
  x[0] = 6.374f, x[1] = -6.374f, x[2] = 6, x[3] = -6, x[4] = 5.9f;
  inside[0] = inside[1] = 0;
  x[16] = 1e-4f, inside[16] = 0;  // beside zeros, which are inside
  x[32] = NAN, x[33] = 3, inside[32] = 0;
  x[48] = 2688;
  const Matrix m = matrix(2, 32, x);
  for (const Kernels* k : {&reference_kernels(), &cpu_kernels()}) {
    CHECK(values(gradient_mask(m.view(), {}, StraightThrough::clipped, *k)) == inside);
    CHECK(values(gradient_mask(m.view(), {}, StraightThrough::identity, *k)) == std::vector<float>(64, 1));
  }
}

TEST_CASE("distill: the mask under a frozen tensor scale, in 16x16 blocks and of 8-bit elements") {
  const auto mask = [](std::vector<float> x, const QuantizeSpec& spec) {
    return values(gradient_mask(matrix(1, static_cast<std::int64_t>(x.size()), x).view(), spec,
                                StraightThrough::clipped, cpu_kernels()));
  };
  QuantizeSpec frozen;
  frozen.amax = 2688.f;
  CHECK(mask({2689, 2688, -2689, 1}, frozen) == std::vector<float>{0, 1, 0, 1});
  frozen.amax = 5376.f;
  CHECK(mask({2880, 2689, -2880, 1}, frozen) == std::vector<float>{1, 1, 1, 1});

  QuantizeSpec tile;
  tile.block = {16, 16};
  tile.amax = 2688.f;
  std::vector<float> x(32, 1);  // its tile's 6.374 stands in the other row
  x[3] = 6.374f, x[20] = 6.2f, x[21] = 6;
  const Matrix m = matrix(2, 16, x);
  const std::vector<float> made =
      values(gradient_mask(m.view(), tile, StraightThrough::clipped, cpu_kernels()));
  CHECK(made[3] == 0);
  CHECK(made[20] == 0);
  CHECK(std::ranges::count(made, 1.f) == 30);

  // 2^-8 is MXFP8's floor scale under 1.9, and 448 of it 1.75.
  CHECK(mask({1.9f, 1.75f, 1.8f, -1}, default_spec(dialects::mxfp8_floor::info)) ==
        std::vector<float>{0, 1, 0, 1});
}

/// Of one feature each, CKA is the squared correlation: 6^2 / (5 * 12).
TEST_CASE("cka: by hand") {
  const Matrix a = matrix(4, 1, {0, 1, 2, 3}), b = matrix(4, 1, {0, 0, 0, 4}), c = matrix(4, 1, {0, 1, 0, 1}),
               d = matrix(4, 1, {7, 7, 9, 9});
  CHECK(cka(a.view(), b.view()) == 0.6);
  CHECK(cka(b.view(), a.view()) == 0.6);
  CHECK(cka(c.view(), d.view()) == 0);
  CHECK(cka(c.view(), matrix(4, 2, {5, 1, 1, 1, 5, 1, 1, 1}).view()) == 1);
}

TEST_CASE("cka: of integers it is the exact value but for three roundings") {
  for (unsigned seed = 0; seed < 20; ++seed)
    check_exact(integers(8, 1 + seed % 5, seed), integers(8, 3 + seed % 7, seed + 100));
  check_exact(integers(32, 16, 7), integers(32, 16, 8));
}

TEST_CASE("cka: of itself 1, under powers of two and orthogonal transforms the same") {
  const Matrix a = gaussian(37, 20, 1), b = gaussian(37, 50, 2);
  CHECK(cka(a.view(), a.view()) == 1);
  CHECK(cka(b.view(), b.view()) == 1);
  const double between = cka(a.view(), b.view());
  CHECK(between > 0);
  CHECK(between < 1);
  for (const float scale : {0x1p-100f, -0x1p20f, 0x1p100f}) {
    Matrix scaled = a;
    for (std::int64_t i = 0; i < 37 * 20; ++i) scaled.f32()[i] *= scale;
    CHECK(cka(scaled.view(), b.view()) == between);
  }
  Matrix huge_a = a, huge_b = b;
  for (std::int64_t i = 0; i < 37 * 20; ++i) huge_a.f32()[i] *= 0x1p125f;
  for (std::int64_t i = 0; i < 37 * 50; ++i) huge_b.f32()[i] *= 0x1p125f;
  CHECK(cka(huge_a.view(), huge_b.view()) == between);  // whose fourth powers are beyond FP64
  // Rotations of integers by three quarters of a right angle and by Sylvester's matrix, times 5 and 4: exact.
  const Matrix x = integers(16, 16, 3), y = integers(16, 8, 4);
  Matrix rotated = x;
  for (std::int64_t i = 0; i < 16; ++i) {
    const float u = x.f32()[i * 16], v = x.f32()[i * 16 + 1];
    for (std::int64_t j = 2; j < 16; ++j) rotated.f32()[i * 16 + j] *= 5;
    rotated.f32()[i * 16] = 3 * u - 4 * v;
    rotated.f32()[i * 16 + 1] = 4 * u + 3 * v;
  }
  CHECK(cross(rotated, y) == 25 * cross(x, y));
  check_exact(rotated, y);
  Matrix mixed(16, 16);
  for (std::int64_t i = 0; i < 16; ++i)
    for (std::uint32_t j = 0; j < 16; ++j)
      for (std::uint32_t k = 0; k < 16; ++k)
        mixed.f32()[i * 16 + j] += (std::popcount(j & k) % 2 ? -1.f : 1.f) * x.f32()[i * 16 + k];
  CHECK(cka(mixed.view(), y.view()) == cka(x.view(), y.view()));
}

TEST_CASE("cka: BF16 is widened, and threads change no bit") {
  const Matrix a = gaussian(64, 33, 5), b = gaussian(64, 48, 6);
  const Matrix narrow = converted(a.view(), Dtype::bf16, cpu_kernels()),
               wide = converted(narrow.view(), Dtype::fp32, cpu_kernels());
  CHECK(cka(narrow.view(), b.view()) == cka(wide.view(), b.view()));
  const int before = threads();
  const double expected = cka(a.view(), b.view());
  for (const int n : {1, 2, 7}) {
    set_threads(n);
    CHECK(cka(a.view(), b.view()) == expected);
  }
  set_threads(before);
}

TEST_CASE("cka: the loss is the sum over layers of what is missing to 1") {
  const Matrix a = matrix(4, 1, {0, 1, 2, 3}), b = matrix(4, 1, {0, 0, 0, 4}), c = matrix(4, 1, {0, 1, 0, 1});
  const MatrixView student[] = {a.view(), a.view(), b.view()}, teacher[] = {b.view(), a.view(), c.view()};
  CHECK(cka_loss(student, teacher) == (1 - 0.6) + (1 - 1.) + (1 - cka(b.view(), c.view())));
  CHECK(cka_loss(student, student) == 0);
}

TEST_CASE("cka: hidden states that have none") {
  const Matrix a = gaussian(4, 3, 1), five = gaussian(5, 3, 2), one = gaussian(1, 3, 3),
               same = matrix(4, 1, {0.1f, 0.1f, 0.1f, 0.1f}), none(4, 0);
  Matrix nan = a;
  nan.f32()[7] = NAN;
  const auto refused = [&](const Matrix& x, const Matrix& y) {
    return refusal([&] { cka(x.view(), y.view()); });
  };
  CHECK(refused(a, five) == "expected hidden states of the same tokens, 2 or more, found 4 and 5");
  CHECK(refused(one, one) == "expected hidden states of the same tokens, 2 or more, found 1 and 1");
  CHECK(refused(a, same) == "b: expected tokens that differ: the same hidden state for all has no CKA");
  CHECK(refused(none, a) == "a: expected tokens that differ: the same hidden state for all has no CKA");
  CHECK(refused(nan, a) == "a: row 2, column 1: expected a finite value, found nan");
  const MatrixView layers[] = {a.view(), same.view()};
  CHECK(refusal([&] { cka_loss(layers, layers); }).starts_with("layer 1: a: expected tokens that differ"));
  CHECK(refusal([&] { cka_loss({}, {}); }) == "expected as many layers of both, 1 or more, found 0 and 0");
  CHECK(refusal([&] { cka_loss(layers, {layers, 1}); }).starts_with("expected as many layers"));
}

TEST_CASE("kl: by hand, with probabilities of zero") {
  const auto kl = [](std::vector<float> t, std::vector<float> s, KlOptions o = {}) {
    const auto n = static_cast<std::int64_t>(t.size());
    return kl_divergence(matrix(1, n, t).view(), matrix(1, n, s).view(), o).rows[0];
  };
  CHECK(kl({0, -inf}, {0, 0}) == 0x1.62e42fefa39efp-1);  // log 2
  CHECK(kl({0, 0}, {0, -inf}) == INFINITY);
  CHECK(kl({0, -2000}, {0, -inf}) == INFINITY);  // p is below FP64, and not zero
  CHECK(kl({3, -inf, 3}, {9, -inf, 9}) == 0);
  CHECK(kl({0, 0, 0, 0}, {5, 5, 5, 5}) == 0);
  CHECK(kl({0, 0, 0, 0}, {0, -inf, -inf, -inf}, {.top_k = 1}) == 0);  // one is all of the rest
  CHECK(kl({1, 0, 0}, {-inf, 0, 0}, {.top_k = 1}) == INFINITY);
  CHECK(kl({0, -inf, 0}, {0, 7, -inf}, {.top_k = 2}) == INFINITY);
  CHECK(kl({2, 1, 0, 1}, {2, 1, 9, -inf}, {.top_k = 2}) == 0);  // of equal ones the first
  CHECK(kl({1000, 0}, {0, 1000}) == 1000);
}

TEST_CASE("kl: rows and mean against a hundred digits") {
  const Matrix t = gaussian(6, 50, 1, 8), s = gaussian(6, 50, 2, 8);
  std::vector<std::int64_t> all(50);
  std::iota(all.begin(), all.end(), 0);
  for (const double temperature : {1., 0.7, 3.})
    for (const std::int64_t k : {0, 1, 5, 49, 50}) {
      const Divergence d = kl_divergence(t.view(), s.view(), {.temperature = temperature, .top_k = k});
      REQUIRE(d.rows.size() == 6);
      Wide sum = 0;
      double bound = 0;
      for (std::int64_t row = 0; row < 6; ++row) {
        const float* logits = t.f32() + row * 50;
        std::vector<std::int64_t> columns = all;
        std::ranges::stable_sort(columns, std::greater{}, [&](std::int64_t j) { return logits[j]; });
        if (k) columns.resize(static_cast<std::size_t>(k));
        const Expected e = exact_kl(logits, s.f32() + row * 50, columns, temperature);
        CHECK(abs(Wide(d.rows[static_cast<std::size_t>(row)]) - e.value) <= e.bound);
        CHECK((k == 1 || e.value > 1e-3));
        sum += e.value / 6;
        bound += e.bound / 6;
      }
      CHECK(abs(Wide(d.mean) - sum) <= bound + 6 * 0x1p-53 * d.mean);
    }
}

TEST_CASE("kl: none between equal logits, all of the vocabulary is no limit, temperatures are quotients") {
  const Matrix t = gaussian(9, 40, 3, 5), s = gaussian(9, 40, 4, 5);
  const auto kl = [&](const Matrix& a, const Matrix& b, KlOptions o = {}) {
    return kl_divergence(a.view(), b.view(), o).rows;
  };
  CHECK(kl(t, t) == std::vector<double>(9, 0));
  CHECK(kl(t, s, {.top_k = 40}) == kl(t, s));
  CHECK(kl(t, s) != kl(s, t));
  const Matrix one = gaussian(1, 20, 5, 5), other = gaussian(1, 20, 6, 5);
  const auto least = std::min_element(one.f32(), one.f32() + 20) - one.f32();
  const auto without = [&](const Matrix& m) {
    std::vector<float> rest = values(m);
    rest.erase(rest.begin() + least);
    return matrix(1, 19, rest);
  };
  CHECK(kl(one, other, {.top_k = 19}) == kl(without(one), without(other)));
  for (const double v : kl(t, s)) CHECK(v > 0);
  Matrix half_t = t, half_s = s;
  for (std::int64_t i = 0; i < 9 * 40; ++i) half_t.f32()[i] /= 2, half_s.f32()[i] /= 2;
  CHECK(kl(t, s, {.temperature = 2}) == kl(half_t, half_s));
  const Matrix x = integers(3, 8, 5), y = integers(3, 8, 6);
  Matrix shifted = y;
  for (std::int64_t i = 0; i < 24; ++i) shifted.f32()[i] += 1024;
  CHECK(kl(x, shifted) == kl(x, y));
}

TEST_CASE("kl: logits that are none") {
  const Matrix t = gaussian(2, 3, 1);
  const auto refused = [&](const Matrix& a, const Matrix& b, KlOptions o = {}) {
    return refusal([&] { kl_divergence(a.view(), b.view(), o); });
  };
  Matrix nan = t, infinite = t, nothing = t;
  nan.f32()[4] = NAN;
  infinite.f32()[2] = inf;
  for (int j = 3; j < 6; ++j) nothing.f32()[j] = -inf;
  CHECK(refused(nan, t) == "teacher's logits, row 1, column 1: expected a finite value or -Inf, found nan");
  CHECK(refused(t, infinite).starts_with("student's logits, row 0, column 2: expected a finite value"));
  CHECK(refused(nothing, t) == "teacher's logits, row 1: expected a finite value, found nothing but -Inf");
  CHECK(refused(t, nothing).empty());
  CHECK(refused(t, gaussian(3, 2, 1)) ==
        "expected logits of one shape, teacher and student, found 2 x 3 and 3 x 2");
  CHECK(refused(Matrix(0, 3), Matrix(0, 3)).starts_with("expected logits of one shape"));
  CHECK(refused(t, t, {.temperature = 0}).starts_with("temperature: expected a positive number"));
  CHECK(refused(t, t, {.temperature = NAN}).starts_with("temperature: "));
  CHECK(refused(t, t, {.top_k = 4}) == "top_k: expected 0 to 3, found 4");
  CHECK(refused(t, t, {.top_k = -1}) == "top_k: expected 0 to 3, found -1");
}
