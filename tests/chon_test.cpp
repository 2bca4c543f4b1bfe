#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "tests/exactly.hpp"
#include "tests/gaussian.hpp"
#include "tests/layer.hpp"

using namespace nvfp4;
using exact_integers::cpp_int;
using exact_integers::exactly;
using layer::Layer;
using layer::squared_error;

/// The Hot-Channel Patch.
namespace {

using Channels = std::vector<std::int64_t>;

/// Every eleventh channel is `hot` times as large.
Matrix with_hot_columns(std::int64_t rows, std::int64_t cols, unsigned seed, float hot = 1) {
  return gaussian::matrix(rows, cols, seed, {11, 4, hot});
}

Layer made(std::int64_t tokens, std::int64_t in, std::int64_t out, float hot = 30) {
  return {with_hot_columns(tokens, in, 1, hot), with_hot_columns(out, in, 2),
          with_hot_columns(tokens, out, 3, hot)};
}

/// Of tensor scales 1, so that what codes decode to and, in BF16, residuals are exact.
Layer exact_layer(std::int64_t tokens, std::int64_t in, std::int64_t out) {
  Layer layer = made(tokens, in, out, 8);
  for (Matrix* m : {&layer.x, &layer.w, &layer.dy}) {
    for (std::int64_t i = 0; i < m->rows * m->cols; ++i) m->f32()[i] *= 16;
    m->f32()[m->cols - 1] = 2688;
  }
  return layer;
}

Recipe chon(const Options& options = {}) {
  Recipe r = *find_recipe("chon");
  r.fprop.scheme = scheme_recipe("chon", options);
  return r;
}

/// The patch in every product.
Recipe everywhere(const Options& options = {}) {
  Recipe r = chon(options);
  r.dgrad.scheme = r.wgrad.scheme = r.fprop.scheme;
  return r;
}

LinearResult run(const Layer& in, const Recipe& recipe, const Channels& hot) {
  const LayerState state{.fprop = {{"hot_channels", hot}}};
  return linear(recipe, in.x.view(), in.w.view(), in.dy.view(), 5, cpu_kernels(), &state);
}

const Channels& hot_channels(const LinearResult& r) { return r.state.fprop.at("hot_channels"); }

Channels all_channels(std::int64_t m) {
  Channels all(static_cast<std::size_t>(m));
  for (std::int64_t j = 0; j < m; ++j) all[static_cast<std::size_t>(j)] = j;
  return all;
}

/// Numbers as integers, with the contracted dimension along the rows.
struct Exact {
  std::vector<cpp_int> values;
  std::int64_t cols;
  explicit Exact(const Matrix& m) : cols(m.cols) {
    const Matrix wide = converted(m.view(), Dtype::fp32, reference_kernels());
    for (std::int64_t i = 0; i < m.rows * m.cols; ++i) values.push_back(exactly(double{wide.f32()[i]}));
  }
  const cpp_int& at(std::int64_t i, std::int64_t k) const {
    return values[static_cast<std::size_t>(i * cols + k)];
  }
};

/// element * block scale, or the dense operand.
Exact exact(const Operand& o) {
  return Exact(o.quantized ? block_scaled_values(*o.quantized, Dtype::fp32, cpu_kernels()) : o.dense);
}

/// Before alpha and any rounding; whole matrices.
std::vector<cpp_int> product(const Exact& a, const Exact& b) {
  std::vector<cpp_int> out;
  for (std::size_t i = 0; i < a.values.size() / static_cast<std::size_t>(a.cols); ++i)
    for (std::size_t j = 0; j < b.values.size() / static_cast<std::size_t>(b.cols); ++j) {
      cpp_int sum = 0;
      for (std::int64_t k = 0; k < a.cols; ++k)
        sum += a.at(static_cast<std::int64_t>(i), k) * b.at(static_cast<std::int64_t>(j), k);
      out.push_back(sum);
    }
  return out;
}

std::vector<cpp_int> patched_product(const std::vector<Term>& terms) {
  std::vector<cpp_int> sum = product(exact(terms[0].a), exact(terms[0].b));
  for (std::size_t t = 1; t < terms.size(); ++t) {
    const std::vector<cpp_int> more = product(exact(terms[t].a), exact(terms[t].b));
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += more[i];
  }
  return sum;
}

/// What a patch is to leave in the product: X~ W~ of the cold channels, `of_hot` of X, X~, W and W~ of the hot ones.
template <class OfHot>
std::vector<cpp_int> expected_product(const Layer& in, const Channels& hot, const OfHot& of_hot) {
  const LinearResult base = in.run(*find_recipe("nvidia"));
  const Kernels& k = cpu_kernels();
  const Exact x(converted(in.x.view(), Dtype::bf16, k)), w(converted(in.w.view(), Dtype::bf16, k)),
      xq = exact(base.fprop.terms[0].a), wq = exact(base.fprop.terms[0].b);
  std::vector<cpp_int> out;
  for (std::int64_t i = 0; i < in.x.rows; ++i)
    for (std::int64_t j = 0; j < in.w.rows; ++j) {
      cpp_int sum = 0;
      for (std::int64_t c = 0; c < in.x.cols; ++c)
        sum += std::ranges::count(hot, c) ? cpp_int(of_hot(x.at(i, c), xq.at(i, c), w.at(j, c), wq.at(j, c)))
                                          : cpp_int(xq.at(i, c) * wq.at(j, c));
      out.push_back(sum);
    }
  return out;
}

/// Of E2M1 codes, by blocks of 16: the given ones, in order.
BlockScaledTensor blocks(const BlockScaledTensor& q, const std::vector<std::int64_t>& which) {
  BlockScaledTensor out = q;
  out.codes.clear();
  out.scales.clear();
  out.cols = 16 * std::ssize(which);
  for (std::int64_t i = 0; i < q.rows; ++i)
    for (const std::int64_t b : which) {
      const auto code = q.codes.begin() + i * q.row_bytes() + b * 8;
      out.codes.insert(out.codes.end(), code, code + 8);
      out.scales.push_back(q.scales[static_cast<std::size_t>(i * q.blocks_per_row() + b)]);
    }
  return out;
}

bool same(const BlockScaledTensor& a, const BlockScaledTensor& b) {
  return a.codes == b.codes && a.scales == b.scales && a.global == b.global && a.rows == b.rows;
}

}  // namespace

/// Lemma A.9, with residuals that are exact in BF16.
TEST_CASE("chon: of the hot channels' error it leaves exactly -R S, of one patch alone the other operand's") {
  const Layer in = exact_layer(20, 40, 12);
  for (const Channels& hot : {Channels{3, 4, 15, 26, 37, 39}, all_channels(40)}) {
    const auto patched = [&](const char* patch) {
      const LinearResult r = run(in, chon({{"residuals", "dense"}, {"patch", patch}}), hot);
      CHECK(r.fprop.terms.size() == (std::string_view(patch) == "both" ? 3 : 2));
      return patched_product(r.fprop.terms);
    };
    CHECK((patched("both") == expected_product(in, hot, [](auto& x, auto& xq, auto& w, auto& wq) {
             return cpp_int(x * w - (x - xq) * (w - wq));
           })));
    CHECK((patched("activation") ==
           expected_product(in, hot, [](auto& x, auto&, auto&, auto& wq) { return cpp_int(x * wq); })));
    CHECK((patched("weight") ==
           expected_product(in, hot, [](auto&, auto& xq, auto& w, auto&) { return cpp_int(xq * w); })));
  }
}

TEST_CASE("chon: dense terms have the other operand's tensor scale as alpha, and are in the operand type") {
  const Layer in = made(20, 40, 12);
  for (const Dtype dtype : {Dtype::bf16, Dtype::fp32}) {
    Recipe recipe = chon({{"residuals", "dense"}});
    recipe.operands = dtype;
    recipe.fprop.accumulate_dense = recipe.dgrad.accumulate_dense = "fp32_in_order";
    const LinearResult r = run(in, recipe, {4, 15, 26});
    const std::vector<Term>& t = r.fprop.terms;
    const auto decode_scale = [](const Operand& o) { return o.quantized->global[0] * (1 / 2688.f); };
    CHECK(t[1].scaling.alpha == decode_scale(t[0].b));
    CHECK(t[2].scaling.alpha == decode_scale(t[0].a));
    for (const std::size_t i : {1, 2})
      for (const Operand* o : {&t[i].a, &t[i].b}) {
        CHECK(o->dense.dtype == dtype);
        CHECK(o->dense.cols == 3);
      }
    Matrix sum = t[0].out;
    for (std::int64_t i = 0; i < sum.rows * sum.cols; ++i)
      sum.f32()[i] = (sum.f32()[i] + t[1].out.f32()[i]) + t[2].out.f32()[i];
    CHECK(sum.bytes == r.fprop.out.bytes);
  }
}

TEST_CASE("chon: the base product's codes stand first as they are, and hot blocks are copies of theirs") {
  const Layer in = made(20, 72, 40);
  const Channels hot{5, 6, 31, 33, 70};
  const LinearResult base = in.run(*find_recipe("nvidia")), one = run(in, chon(), hot),
                     apart = run(in, chon({{"residuals", "separate"}}), hot);
  const BlockScaledTensor &q_x = *base.fprop.terms[0].a.quantized, &q_w = *base.fprop.terms[0].b.quantized,
                          &a = *one.fprop.terms[0].a.quantized, &b = *one.fprop.terms[0].b.quantized;
  REQUIRE(one.fprop.terms.size() == 1);
  REQUIRE(a.cols == 80 + 4 * 16 + 4 * 16);
  REQUIRE(b.cols == a.cols);
  const std::vector<std::int64_t> all{0, 1, 2, 3, 4}, with_hot{0, 1, 2, 4};
  CHECK(same(blocks(a, all), blocks(q_x, all)));
  CHECK(same(blocks(b, all), blocks(q_w, all)));
  CHECK(same(blocks(b, {5, 6, 7, 8}), blocks(q_w, with_hot)));
  CHECK(same(blocks(a, {9, 10, 11, 12}), blocks(q_x, with_hot)));
  REQUIRE(apart.fprop.terms.size() == 3);
  CHECK(layer::equal(apart.fprop.terms[0].a, base.fprop.terms[0].a));
  CHECK(layer::equal(apart.fprop.terms[0].b, base.fprop.terms[0].b));
  CHECK(apart.fprop.terms[0].out.bytes == base.fprop.out.bytes);
  CHECK(same(*apart.fprop.terms[1].a.quantized, blocks(a, {5, 6, 7, 8})));
  CHECK(same(*apart.fprop.terms[1].b.quantized, blocks(b, {5, 6, 7, 8})));
  CHECK(same(*apart.fprop.terms[2].a.quantized, blocks(a, {9, 10, 11, 12})));
  CHECK(same(*apart.fprop.terms[2].b.quantized, blocks(b, {9, 10, 11, 12})));
}

/// By the definition: x less what it decodes to, zero in cold channels, quantized as its operand is.
TEST_CASE("chon: residuals are quantized under their operand's tensor scale, in its block shape") {
  const Kernels& k = cpu_kernels();
  const Layer in = made(20, 72, 40);
  const Channels hot{5, 6, 31, 33, 70};
  constexpr std::int64_t first_of_block[] = {0, 16, 32, 64};
  const Term term = run(in, chon(), hot).fprop.terms[0];
  const auto expected = [&](const Matrix& m, BlockShape shape) {
    const Matrix x = converted(converted(m.view(), Dtype::bf16, k).view(), Dtype::fp32, k);
    const BlockScaledTensor q = k.quantize(x.view(), {.block = shape}, {});
    const Matrix decoded = k.dequantize(q);
    Matrix r(m.rows, 64);
    for (std::int64_t i = 0; i < m.rows; ++i)
      for (std::int64_t j = 0; j < 64; ++j) {
        const std::int64_t c = first_of_block[j / 16] + j % 16;
        if (std::ranges::count(hot, c)) r.f32()[i * 64 + j] = x.f32()[i * 72 + c] - decoded.f32()[i * 72 + c];
      }
    return k.quantize(r.view(), {.block = shape, .amax = q.global[0]}, {});
  };
  CHECK(same(blocks(*term.a.quantized, {5, 6, 7, 8}), expected(in.x, {1, 16})));
  CHECK(same(blocks(*term.b.quantized, {9, 10, 11, 12}), expected(in.w, {16, 16})));
}

TEST_CASE(
    "chon: without hot channels it is its base, byte for byte, and so are the products that it leaves") {
  const Layer in = made(37, 20, 12);
  const LinearResult nvidia = in.run(*find_recipe("nvidia"));
  for (const char* residuals : {"appended", "separate", "dense"}) {
    const LinearResult none = in.run(everywhere({{"channels", "0"}, {"residuals", residuals}}));
    CHECK(layer::equal(none, nvidia));
    CHECK(none.state.wgrad.at("hot_channels").empty());
    const LinearResult r = in.run(chon({{"residuals", residuals}}));
    CHECK(layer::equal(r.dgrad, nvidia.dgrad));
    CHECK(layer::equal(r.wgrad, nvidia.wgrad));
    CHECK(r.fprop.out.bytes != nvidia.fprop.out.bytes);
    CHECK(r.state.dgrad.empty());
  }
}

/// The definition, in another order of sums, on data without ties.
TEST_CASE("chon: hot are the channels of the largest mean residuals of both operands, ascending") {
  const Kernels& k = cpu_kernels();
  const Layer in = made(33, 96, 20);
  const LinearResult r = in.run(chon({{"channels", "16"}}));
  const auto mean_residual = [&](const Matrix& m, BlockShape shape, std::int64_t j) {
    const Matrix x = converted(converted(m.view(), Dtype::bf16, k).view(), Dtype::fp32, k);
    const Matrix decoded = k.dequantize(k.quantize(x.view(), {.block = shape}, {}));
    long double sum = 0;
    for (std::int64_t i = m.rows; i-- > 0;)
      sum += std::fabs(x.f32()[i * m.cols + j] - decoded.f32()[i * m.cols + j]);
    return sum / static_cast<long double>(m.rows);
  };
  std::vector<std::pair<long double, std::int64_t>> scores;
  for (std::int64_t j = 0; j < 96; ++j)
    scores.emplace_back(-mean_residual(in.x, {1, 16}, j) - mean_residual(in.w, {16, 16}, j), j);
  std::ranges::sort(scores);
  Channels expected;
  for (std::size_t i = 0; i < 16; ++i) expected.push_back(scores[i].second);
  std::ranges::sort(expected);
  CHECK(hot_channels(r) == expected);
  CHECK(persistent(expected, Channels{4, 15, 26, 37, 48, 59, 70, 81, 92}).size() == 9);  // the large ones
}

TEST_CASE("chon: of equal scores the lower channel is hot, and a NaN is none") {
  Layer in{Matrix(16, 64), Matrix(16, 64), Matrix(16, 16)};
  const auto hot = [&] { return hot_channels(in.run(chon({{"channels", "16"}}))); };
  CHECK(hot() == all_channels(16));
  in.w.f32()[64 + 50] = 1;  // exact, beside it nothing is
  in.w.f32()[64 + 51] = 0.3f;
  Channels expected = all_channels(15);
  expected.push_back(51);
  CHECK(hot() == expected);
  in.w = Matrix(16, 64);
  in.w.f32()[16] = in.w.f32()[47] = 1;
  for (std::int64_t j = 20; j < 36; ++j) in.w.f32()[j] = 0.3f;
  in.x.f32()[0] = NAN;
  expected = all_channels(36);
  expected.erase(expected.begin(), expected.begin() + 20);
  CHECK(hot() == expected);
}

TEST_CASE("chon: how many channels are hot") {
  const auto count = [](std::int64_t in, const Options& options) {
    return std::ssize(hot_channels(made(16, in, 16).run(chon(options))));
  };
  CHECK(count(640, {}) == 32);  // 20
  CHECK(count(640, {{"channels", "m/16"}}) == 48);
  CHECK(count(640, {{"channels", "m/64"}}) == 16);
  CHECK(count(640, {{"channels", "m/16"}, {"multiple", "64"}}) == 64);
  CHECK(count(1025, {{"channels", "m/64"}}) == 32);  // 16 and a sixty-fourth
  CHECK(count(640, {{"channels", "33"}}) == 48);
  CHECK(count(20, {}) == 16);
  CHECK(count(20, {{"channels", "17"}}) == 20);
  CHECK(count(20, {{"channels", "1073741824"}}) == 20);
}

TEST_CASE("chon: in which order what is appended stands changes no exact sum") {
  const Layer in = made(20, 72, 40);
  const Term term = run(in, chon(), {5, 6, 31, 33, 70}).fprop.terms[0];
  const std::vector<std::int64_t> order{12, 0, 7, 1, 2, 10, 3, 8, 4, 5, 11, 6, 9};
  const auto multiply = [](const BlockScaledTensor& a, const BlockScaledTensor& b) {
    return cpu_kernels().multiply(a, b, *find_accumulation("exact"), {}).bytes;
  };
  const BlockScaledTensor &a = *term.a.quantized, &b = *term.b.quantized;
  CHECK(multiply(a, b) == multiply(blocks(a, order), blocks(b, order)));
  CHECK(multiply(a, b) != multiply(blocks(a, order), b));
}

/// Measured, of the base's squared error: with 16, 32, 64 and all of 128 channels 0.44, 0.33, 0.17 and 0.016; dense 0.44, 0.33,
/// 0.16 and 0.004.
TEST_CASE("chon: its error falls with the number of hot channels, below its base's") {
  const Layer in = made(128, 128, 64);
  const Matrix exact = in.run(*find_recipe("bf16")).fprop.out;
  for (const char* residuals : {"appended", "separate", "dense"}) {
    double last = squared_error(in.run(*find_recipe("nvidia")).fprop.out, exact);
    const double base = last;
    for (const char* channels : {"16", "32", "64", "128"}) {
      const Options options{{"channels", channels}, {"residuals", residuals}};
      const double error = squared_error(in.run(chon(options)).fprop.out, exact);
      CHECK(error < last);
      last = error;
    }
    CHECK(20 * last < base);
  }
}

TEST_CASE("chon: in the backward products residuals draw bits of their own, and follow the transform") {
  const Layer in = made(40, 64, 48);
  const LinearResult r = in.run(everywhere({{"residuals", "separate"}}));
  std::set<std::uint64_t> streams;
  for (const Pass* pass : {&r.dgrad, &r.wgrad})
    for (const std::size_t t : {0, 1})
      streams.insert(pass->terms[t].a.quantized->spec.stochastic->random.stream);
  CHECK(streams == std::set<std::uint64_t>{2, 8, 4, 10});
  CHECK_FALSE(r.dgrad.terms[2].b.quantized->spec.stochastic.has_value());
  CHECK(r.wgrad.terms[0].transform == "Hadamard transform of 16, signs te");
  const LinearResult one = in.run(everywhere());
  CHECK(one.wgrad.terms[0].transform ==
        "Hadamard transform of 16, signs te; blocks of 16 hot channels appended: residuals in one operand, "
        "copies in the other");
  CHECK(one.wgrad.terms[0].a.transformed.bytes == r.wgrad.terms[0].a.transformed.bytes);
  const LinearResult plain = in.run(*find_recipe("nvidia")), exact = in.run(*find_recipe("bf16"));
  const LinearResult all = in.run(everywhere({{"channels", "64"}}));
  CHECK(20 * squared_error(all.wgrad.out, exact.wgrad.out) < squared_error(plain.wgrad.out, exact.wgrad.out));
  CHECK(10 * squared_error(all.dgrad.out, exact.dgrad.out) < squared_error(plain.dgrad.out, exact.dgrad.out));
}

TEST_CASE("chon: bytes are the reference's on every layer, for ragged shapes and any number of threads") {
  const Layer ragged = made(21, 43, 12);
  for (const char* residuals : {"appended", "separate", "dense"})
    layer::check_every_layer(ragged, everywhere({{"residuals", residuals}, {"channels", "16"}}));
}

TEST_CASE("chon: the recipe is NVIDIA's with the patch in fprop") {
  Recipe r = *find_recipe("chon");
  CHECK(r.fprop.scheme.options == Options{{"channels", "m/32"},
                                          {"multiple", "16"},
                                          {"patch", "both"},
                                          {"residuals", "appended"},
                                          {"period", "256"}});
  r.fprop.scheme = {};
  r.name = "nvidia";
  CHECK(r == *find_recipe("nvidia"));
}

TEST_CASE("chon: recipes and states that it cannot lower") {
  const auto refused = [](const auto& spoil, const char* why) {
    Recipe r = everywhere();
    spoil(r);
    CHECK_THROWS_WITH_AS(validate(r), doctest::Contains(why), std::invalid_argument);
  };
  refused([](Recipe& r) { r.fprop.a = r.fprop.b = {}; }, "fprop: chon takes E2M1 under E4M3 scales");
  refused([](Recipe& r) { r.fprop.b.dialect = "mxfp4_ceil", r.fprop.b.block = {1, 32}; }, "chon takes E2M1");
  refused([](Recipe& r) { r.fprop.a.tensor_scale = TensorScale::row; }, "one scale a tensor");
  refused([](Recipe& r) { r.fprop.scheme = {}, r.wgrad.b.source = Source::forward; },
          "wgrad: chon's residuals are of high precision: source input");
  refused([](Recipe& r) { r.fprop.scheme.options["channels"] = "m/8"; },
          "channels: expected one of m/64, m/32, m/16, 0 to 1073741824, found 'm/8'");
  refused([](Recipe& r) { r.fprop.scheme.options["period"] = "0"; }, "period: expected one of 1 to");
  const Layer in = made(16, 40, 16);
  CHECK_THROWS_WITH_AS(run(in, chon(), {40}), "fprop's state 'hot_channels': expected 0 to 39, found 40",
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(run(in, chon(), {4, 4}), "fprop's state 'hot_channels': 4 stands twice",
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(run(in, chon(), {4, 3}), "fprop's state 'hot_channels': expected to ascend",
                       std::invalid_argument);
}
