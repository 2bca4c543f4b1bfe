#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include <nvfp4/nvfp4.hpp>

using namespace nvfp4;

/// Inputs of a layer on which recipes part.
namespace {

constexpr std::int64_t tokens = 96, in = 64, out = 32;

LayerInputs made(std::string_view kind, std::uint64_t seed = 3) {
  return make_layer_inputs(kind, tokens, in, out, seed);
}

std::vector<float> values(const Matrix& m) {
  const Matrix wide = converted(m.view(), Dtype::fp32, cpu_kernels());
  return {wide.f32(), wide.f32() + m.rows * m.cols};
}

double mean_square(const std::vector<float>& x) {
  double sum = 0;
  for (const float v : x) sum += double{v} * v;
  return sum / static_cast<double>(x.size());
}

std::uint64_t hash(const LayerInputs& l) {  // FNV-1a
  std::uint64_t h = 0xCBF29CE484222325;
  for (const Matrix* m : {&l.x, &l.w, &l.dy})
    for (const std::byte b : m->bytes) h = (h ^ std::to_integer<unsigned>(b)) * 0x100000001B3;
  return h;
}

}  // namespace

TEST_CASE("layer inputs: BF16 in the layer's shapes, W and dY the same for every kind, X not") {
  const LayerInputs plain = made("gaussian");
  CHECK(plain.w.rows == out);
  CHECK(plain.w.cols == in);
  CHECK(plain.dy.rows == tokens);
  CHECK(plain.dy.cols == out);
  for (const std::string_view kind : layer_input_kinds()) {
    const LayerInputs l = made(kind);
    CHECK(l.x.dtype == Dtype::bf16);
    CHECK((l.w.bytes == plain.w.bytes));
    CHECK((l.dy.bytes == plain.dy.bytes));
    CHECK((l.x.bytes == plain.x.bytes) == (kind == "gaussian"));
    CHECK((l.x.bytes == made(kind).x.bytes));
    CHECK((l.x.bytes != made(kind, 4).x.bytes));
  }
  CHECK_THROWS_AS(made("uniform"), std::invalid_argument);
}

TEST_CASE("layer inputs: each kind is what its name says") {
  const std::vector<float> plain = values(made("gaussian").x), hot = values(made("hot_channels").x),
                           outliers = values(made("block_outliers").x),
                           shifted = values(made("mean_shifted").x), heavy = values(made("heavy_tailed").x);
  CHECK(std::fabs(mean_square(plain) - 1) < 0.1);  // 6144 values: the standard deviation is 0.018
  for (std::size_t i = 0; i < plain.size(); ++i)
    CHECK(hot[i] == (i % in % 32 == 5 ? 32 * plain[i] : plain[i]));
  int large = 0;
  for (const float v : outliers) large += std::fabs(v) >= 32 / 3.f - 0.04f && std::fabs(v) <= 16;
  CHECK(std::abs(large - 1536) < 170);  // of 6144 a quarter, within five standard deviations
  for (std::size_t j = 0; j < in; ++j) {
    float shift = 0;
    for (std::size_t i = 0; i < tokens; ++i) shift += shifted[i * in + j] - plain[i * in + j];
    CHECK(std::fabs(shifted[j] - plain[j] - shift / tokens) < 0.07f);  // two roundings of numbers below 16
  }
  const auto beyond = [](const std::vector<float>& x) {
    return std::ranges::count_if(x, [](float v) { return std::fabs(v) > 6; });
  };
  CHECK(beyond(plain) == 0);
  CHECK(beyond(heavy) > 20);  // 0.93 % of t with 3 degrees of freedom, of 6144: 57
}

TEST_CASE("layer inputs: the bytes stay what they are") {
  CHECK(hash(made("gaussian")) == 0x8AC44F5CB63C6966);
  CHECK(hash(made("heavy_tailed")) == 0x7CD09A3013D14882);
  CHECK(hash(made("mean_shifted")) == 0x9955E90B434FB2A9);
}
