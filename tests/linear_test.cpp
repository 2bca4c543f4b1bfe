#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <stdexcept>
#include <vector>

#include <nvfp4/accumulation.hpp>
#include <nvfp4/linear.hpp>
#include <nvfp4/nvfp4.hpp>

#include "tests/gaussian.hpp"
#include "tests/layer.hpp"

using namespace nvfp4;
using layer::equal;

/// One linear layer forward and backward by every recipe.
namespace {

/// Each seventh column eight times as large.
Matrix hot(std::int64_t rows, std::int64_t cols, unsigned seed) {
  return gaussian::matrix(rows, cols, seed, {7, 0, 8});
}

struct Inputs : layer::Layer {
  Inputs(std::int64_t tokens, std::int64_t in, std::int64_t out)
      : Layer{hot(tokens, in, 1), hot(out, in, 2), hot(tokens, out, 3)} {}
};

const Recipe& named(std::string_view name) { return *find_recipe(name); }

/// element * block scale, in double: exact.
std::vector<double> decoded(const BlockScaledTensor& t) {
  std::vector<double> values(static_cast<std::size_t>(t.rows * t.cols));
  for (std::int64_t i = 0; i < t.rows; ++i)
    for (std::int64_t j = 0; j < t.cols; ++j) {
      const std::uint32_t code =
          t.codes[static_cast<std::size_t>(i * t.row_bytes() + j / 2)] >> (j % 2 * 4) & 15;
      const std::uint32_t scale =
          t.scales[static_cast<std::size_t>(i * t.blocks_per_row() + j / t.spec.block.cols)];
      float element, of_block;
      reference_kernels().decode({&code, 1}, Format::e2m1, {&element, 1});
      reference_kernels().decode({&scale, 1}, scale_format(*t.spec.dialect), {&of_block, 1});
      values[static_cast<std::size_t>(i * t.cols + j)] = double{element} * of_block;
    }
  return values;
}

/// sum over k of a(i, k) b(j, k), in double: exact for E2M1 elements and E4M3 scales and K up to 2^20.
float product(const BlockScaledTensor& a, const BlockScaledTensor& b, std::int64_t i, std::int64_t j) {
  const std::vector<double> left = decoded(a), right = decoded(b);
  double sum = 0;
  for (std::int64_t k = 0; k < a.cols; ++k)
    sum += left[static_cast<std::size_t>(i * a.cols + k)] * right[static_cast<std::size_t>(j * b.cols + k)];
  return static_cast<float>(sum);
}

/// FNV-1a of y, dx and dw, of inputs that a seed alone fixes.
std::uint64_t pinned(const Recipe& recipe) {
  Matrix x(40, 52), w(36, 52), dy(40, 36);
  std::uint64_t stream = 0;
  for (Matrix* m : {&x, &w, &dy}) {
    for (std::int64_t i = 0; i < m->rows * m->cols; ++i) {
      const std::uint32_t word = draw({.seed = 77, .stream = stream}, i, 0)[0];
      m->f32()[i] =
          std::ldexp(static_cast<float>(static_cast<int>(word >> 24) - 128), static_cast<int>(word % 8));
    }
    ++stream;
  }
  const LinearResult r = linear(recipe, x.view(), w.view(), dy.view(), 5, cpu_kernels());
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const Pass* pass : {&r.fprop, &r.dgrad, &r.wgrad})
    for (const std::byte b : pass->out.bytes) hash = (hash ^ std::to_integer<unsigned>(b)) * 0x100000001B3;
  return hash;
}

}  // namespace

TEST_CASE("linear: recipes without a scheme have the bytes that they had before there were schemes") {
  const std::pair<const char*, std::uint64_t> expected[] = {
      {"bf16", 0xAEA4CC1188CCCE5F},          {"nvfp4_plain", 0xBD1A19CFA759ED09},
      {"nvidia", 0x16DFF4707E3D649A},        {"nvidia_no_sr", 0xAF58A79819EFD838},
      {"nvidia_no_rht", 0x31D3D1542A339B54}, {"nvidia_no_2d", 0xF96521AD95F06B8C},
      {"te_rowscaled", 0x01E0E20EC25FFD3B},  {"nvidia_sr_everywhere", 0xD06311663A38EFDB},
      {"mxfp4", 0x4F5B7A8F715EB86B},         {"four_over_six", 0xEEA508606F48CF2A},
  };
  for (const auto& [name, hash] : expected) {
    const Recipe& recipe = named(name);
    CAPTURE(recipe.name);
    CHECK(recipe.fprop.scheme.name == "plain");
    CHECK(pinned(recipe) == hash);
  }
}

TEST_CASE("linear: every recipe on every layer for ragged shapes and any number of threads" *
          doctest::test_suite("sweep")) {
  for (const Inputs& in : {Inputs(48, 64, 32), Inputs(37, 20, 12)})
    for (const Recipe& recipe : recipes()) layer::check_every_layer(in, recipe);
}

TEST_CASE("linear: an output is alpha times the exact product, where the accumulation is exact") {
  const Inputs in(48, 64, 32);
  Recipe recipe = named("nvidia");
  recipe.fprop.accumulate = recipe.dgrad.accumulate = recipe.wgrad.accumulate = "exact";
  const LinearResult result = in.run(recipe);
  for (const Pass* pass : {&result.fprop, &result.dgrad, &result.wgrad}) {
    const Term& term = pass->terms[0];
    const BlockScaledTensor &a = *term.a.quantized, &b = *term.b.quantized;
    const float alpha = a.global[0] * b.global[0] * (1 / (2688.f * 2688.f));
    CHECK(term.scaling.alpha == alpha);
    for (const std::int64_t i : {std::int64_t{0}, a.rows - 1})
      for (std::int64_t j = 0; j < b.rows; j += 5)
        CHECK(pass->out.f32()[i * b.rows + j] == product(a, b, i, j) * alpha);
  }
}

TEST_CASE(
    "linear: without any technique nvidia is nvfp4_plain, and each technique changes only its own operands") {
  const Inputs in(48, 64, 32);
  const auto run = [&](std::string_view name) { return in.run(named(name)); };
  const LinearResult all = run("nvidia"), plain = run("nvfp4_plain"), no_sr = run("nvidia_no_sr"),
                     no_rht = run("nvidia_no_rht"), no_2d = run("nvidia_no_2d");
  const auto a = [](const Pass& p) -> const Operand& { return p.terms[0].a; };
  const auto b = [](const Pass& p) -> const Operand& { return p.terms[0].b; };

  CHECK(equal(no_sr.fprop, all.fprop));
  CHECK(equal(a(no_sr.dgrad), a(plain.dgrad)));
  CHECK(equal(b(no_sr.dgrad), b(all.dgrad)));
  CHECK(equal(b(no_sr.wgrad), b(all.wgrad)));
  CHECK_FALSE(equal(a(no_sr.wgrad), a(all.wgrad)));

  CHECK(equal(no_rht.fprop, all.fprop));
  CHECK(equal(no_rht.dgrad, all.dgrad));
  CHECK(equal(b(no_rht.wgrad), b(plain.wgrad)));
  CHECK_FALSE(equal(b(no_rht.wgrad), b(all.wgrad)));

  CHECK(equal(no_2d.fprop, plain.fprop));
  CHECK(equal(b(no_2d.dgrad), b(plain.dgrad)));
  CHECK(equal(no_2d.wgrad, all.wgrad));
  CHECK_FALSE(equal(b(no_2d.fprop), b(all.fprop)));

  Recipe off = named("nvidia");
  off.name = "nvfp4_plain";
  off.fprop.b.block = off.dgrad.b.block = {1, 16};
  off.wgrad.a.rht = off.wgrad.b.rht = 0;
  off.dgrad.a.stochastic = off.wgrad.a.stochastic = false;
  CHECK(off == named("nvfp4_plain"));
}

TEST_CASE("linear: both passes see the same numbers of a weight in 16x16 blocks, and not in 1x16") {
  const Inputs in(48, 64, 32);
  for (const bool tiles : {true, false}) {
    const LinearResult r = in.run(named(tiles ? "nvidia" : "nvidia_no_2d"));
    const std::vector<double> forward = decoded(*r.fprop.terms[0].b.quantized),
                              backward = decoded(*r.dgrad.terms[0].b.quantized);
    bool same = true;
    for (std::size_t i = 0; i < 32; ++i)
      for (std::size_t j = 0; j < 64; ++j) same = same && forward[i * 64 + j] == backward[j * 32 + i];
    CHECK(same == tiles);
  }
}

TEST_CASE("linear: a backward operand may come from the forward codes") {
  const Inputs in(48, 64, 32);
  Recipe recipe = named("nvfp4_plain");
  recipe.dgrad.b.source = recipe.wgrad.b.source = Source::forward;
  const LinearResult r = in.run(recipe);
  const Matrix x = transpose(cpu_kernels().dequantize(*r.fprop.terms[0].a.quantized).view());
  CHECK(compare(*r.wgrad.terms[0].b.quantized,
                cpu_kernels().quantize(x.view(), default_spec(dialects::te::info), {}))
            .equal());
  CHECK_FALSE(equal(r.wgrad.terms[0].b, in.run(named("nvfp4_plain")).wgrad.terms[0].b));
  recipe.fprop.a.source = Source::forward;
  CHECK_THROWS_AS(in.run(recipe), std::invalid_argument);
}

TEST_CASE("linear: every operand's random bits are its own, and a seed's") {
  const Inputs in(48, 64, 32);
  const LinearResult r = in.run(named("nvidia_sr_everywhere"));
  std::set<std::uint64_t> streams;
  for (const Pass* pass : {&r.fprop, &r.dgrad, &r.wgrad})
    for (const Operand* o : {&pass->terms[0].a, &pass->terms[0].b})
      streams.insert(o->quantized->spec.stochastic->random.stream);
  CHECK(streams.size() == 6);
  CHECK_FALSE(equal(r.fprop, in.run(named("nvidia_sr_everywhere"), cpu_kernels(), 6).fprop));
  CHECK(equal(in.run(named("nvfp4_plain")), in.run(named("nvfp4_plain"), cpu_kernels(), 6)));
}

/// nvidia_dialects.md 1.8: alpha holds the divisors alone, and the row's amax meets the other operand's first.
TEST_CASE("linear: row-scaled activations") {
  const Inputs in(48, 64, 32);
  const LinearResult r = in.run(named("te_rowscaled"));
  const OutputScaling& s = r.fprop.terms[0].scaling;
  const BlockScaledTensor &a = *r.fprop.terms[0].a.quantized, &b = *r.fprop.terms[0].b.quantized;
  REQUIRE(a.global.size() == 48);
  CHECK(s.alpha == 1 / (2688.f * 2688.f));
  CHECK_FALSE(s.includes_globals);
  CHECK(s.cols.empty());
  for (std::size_t i = 0; i < 48; ++i) CHECK(s.rows[i] == a.global[i] * b.global[0]);
  CHECK(r.wgrad.terms[0].scaling.cols.size() == 64);
}

TEST_CASE("linear: scales of other conventions meet as decode scales, and rows on both sides in turn") {
  const Matrix x = hot(16, 32, 1), y = hot(32, 32, 2);
  const auto made = [](const Matrix& m, const Dialect& d, TensorScale t = TensorScale::tensor) {
    QuantizeSpec spec = default_spec(d);
    spec.tensor_scale = t;
    return cpu_kernels().quantize(m.view(), spec, {});
  };
  using namespace dialects;
  const auto torch = made(x, torchao::info), llm = made(y, vllm::info), te_x = made(x, te::info);
  CHECK(output_scaling(torch, llm).alpha == torch.global[0] * (1 / llm.global[0]));
  CHECK(output_scaling(made(x, mxfp4_ceil::info), made(y, mxfp4_ceil::info)).alpha == 1);
  CHECK(output_scaling(te_x, torch).alpha == te_x.global[0] * torch.global[0] * (1 / 2688.f));
  const auto rows = made(x, te::info, TensorScale::row), cols = made(y, te::info, TensorScale::row);
  const OutputScaling both = output_scaling(rows, cols);
  CHECK(both.rows == rows.global);
  CHECK(both.cols == cols.global);
}

TEST_CASE("linear: scaling an output multiplies in the order stated, on both layers") {
  Matrix acc(2, 3);
  const float values[] = {1.1f, -0.f, INFINITY, 0x1p-140f, NAN, 3e38f};
  std::copy(std::begin(values), std::end(values), acc.f32());
  const OutputScaling s{.alpha = 0.3f, .rows = {0x1p-100f, 7.7f}, .cols = {0x1p100f, 1.3f, 0.7f}};
  const Matrix expected = reference_kernels().scale_output(acc, s),
               actual = cpu_kernels().scale_output(acc, s);
  CHECK(expected.bytes == actual.bytes);
  CHECK(actual.f32()[0] == (1.1f * 0.3f * 0x1p-100f) * 0x1p100f);
  CHECK(std::bit_cast<std::uint32_t>(actual.f32()[4]) == 0x7FFFFFFF);
}

TEST_CASE("linear: inputs are rounded to the recipe's type first") {
  const Inputs in(32, 32, 32);
  Recipe recipe = named("bf16");
  const LinearResult r = in.run(recipe);
  CHECK(r.fprop.terms[0].a.dense.dtype == Dtype::bf16);
  CHECK(r.fprop.terms[0].a.dense.bytes == converted(in.x.view(), Dtype::bf16, reference_kernels()).bytes);
  recipe.fprop.accumulate = "exact";
  recipe.fprop.out = Dtype::bf16;
  const LinearResult exact = in.run(recipe);
  const Matrix x = converted(r.fprop.terms[0].a.dense.view(), Dtype::fp32, reference_kernels()),
               w = converted(r.fprop.terms[0].b.dense.view(), Dtype::fp32, reference_kernels());
  double sum = 0;  // of products of 16 bits within a few binades: exact
  for (int k = 0; k < 32; ++k) sum += double{x.f32()[k]} * w.f32()[k];
  CHECK(exact.fprop.terms[0].out.f32()[0] == static_cast<float>(sum));
  CHECK(exact.fprop.out.dtype == Dtype::bf16);
}

TEST_CASE("linear: shapes and recipes that fit nothing") {
  const Inputs in(32, 48, 64);
  const Kernels& k = cpu_kernels();
  const Recipe& r = named("nvidia");
  const auto refused = [&](MatrixView x, MatrixView w, MatrixView dy) {
    CHECK_THROWS_AS(linear(r, x, w, dy, 0, k), std::invalid_argument);
  };
  refused(in.w.view(), in.x.view(), in.dy.view());
  refused(in.x.view(), in.dy.view(), in.dy.view());
  refused(in.x.view(), in.w.view(), in.x.view());
  Recipe bad = r;
  bad.wgrad.b.rht = 0;
  CHECK_THROWS_WITH_AS(validate(bad), doctest::Contains("wgrad: both operands have the same transform"),
                       std::invalid_argument);
  bad = r;
  bad.fprop.a.dialect = "";
  CHECK_THROWS_WITH_AS(validate(bad), doctest::Contains("fprop: both operands"), std::invalid_argument);
  bad = r;
  bad.dgrad.a.dialect = "vllm";
  CHECK_THROWS_WITH_AS(validate(bad), doctest::Contains("no stochastic rounding"), std::invalid_argument);
  bad = r;
  bad.dgrad.accumulate = "sm999";
  CHECK_THROWS_WITH_AS(validate(bad), doctest::Contains("'sm999'"), std::invalid_argument);
  bad = r;
  bad.dgrad.accumulate_dense = "sm998";
  CHECK_THROWS_WITH_AS(validate(bad), doctest::Contains("'sm998'"), std::invalid_argument);
  bad = r;
  bad.fprop.scheme.name = "sheme";
  CHECK_THROWS_WITH_AS(validate(bad), "fprop: no scheme 'sheme'", std::invalid_argument);
}

TEST_CASE("linear: which layers stay in high precision, and from which step on") {
  ModelRecipe m{
      .recipe = named("nvidia"), .high_precision = named("bf16"), .first_blocks = 2, .last_blocks = 8};
  m.keep = {"*.router", "lm_head"};
  m.switch_step = 100;
  const auto at = [&](const std::string& name, int block, std::int64_t step) {
    return recipe_at(m, {name, block, 62}, step).name;
  };
  CHECK(at("h.1.fc1", 1, 0) == "bf16");
  CHECK(at("h.2.fc1", 2, 0) == "nvidia");
  CHECK(at("h.53.fc1", 53, 99) == "nvidia");
  CHECK(at("h.54.fc1", 54, 0) == "bf16");
  CHECK(at("h.9.router", 9, 0) == "bf16");
  CHECK(at("h.9.fc1", 9, 100) == "bf16");
  m.switch_forward_only = true;
  const Recipe switched = recipe_at(m, {"h.9.fc1", 9, 62}, 100);
  CHECK(switched.fprop == named("bf16").fprop);
  CHECK(switched.dgrad == named("nvidia").dgrad);
  CHECK(switched.wgrad == named("nvidia").wgrad);
}

TEST_CASE("linear: post-QK protection keeps what comes after QK in BF16") {
  const auto kept = [](Attention attention, const std::string& layer) {
    return recipe_at(post_qk_protection(named("chon"), attention), {layer, 3, 24}, 0) == named("bf16");
  };
  const std::string of = "model.layers.3.";
  CHECK(kept(Attention::softmax, of + "self_attn.v_proj"));
  CHECK(kept(Attention::softmax, of + "self_attn.qkv_proj"));
  CHECK(kept(Attention::linear, of + "attn.o_proj"));
  CHECK(kept(Attention::gla, of + "attn.o_proj"));
  CHECK(kept(Attention::gla, of + "attn.gk_proj.1"));
  for (const char* other : {"self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj", "mlp.gate_proj"})
    for (const Attention a : {Attention::softmax, Attention::linear, Attention::gla})
      CHECK_FALSE(kept(a, of + other));
  CHECK_FALSE(kept(Attention::softmax, of + "self_attn.o_proj"));
  CHECK_FALSE(kept(Attention::linear, of + "attn.v_proj"));
  CHECK_FALSE(kept(Attention::linear, of + "attn.gk_proj.1"));
  CHECK(recipe_at(post_qk_protection(named("chon"), Attention::gla), {of + "mlp.up_proj", 3, 24}, 0) ==
        named("chon"));
}

TEST_CASE("linear: the models that NVIDIA trained, 16 % of the 12B one's blocks in BF16") {
  const auto in_bf16 = [](std::string_view name, std::int64_t step, bool late_switch) {
    const PublishedModel& model = *find_published_model(name);
    const ModelRecipe m = model_recipe(model, 1000, late_switch);
    std::vector<int> blocks;
    for (int block = 0; block < model.blocks; ++block)
      if (recipe_at(m, {"h.fc1", block, model.blocks}, step) == named("bf16")) blocks.push_back(block);
    return blocks;
  };
  CHECK(in_bf16("nvidia_12b", 0, false) == std::vector{0, 1, 54, 55, 56, 57, 58, 59, 60, 61});
  CHECK(in_bf16("nvidia_8b", 0, false) == std::vector{44, 45, 46, 47, 48, 49, 50, 51});
  CHECK(in_bf16("nvidia_1.2b", 0, false) == std::vector{16, 17, 18, 19});
  CHECK(in_bf16("nvidia_1.2b", 999, false).size() == 4);
  CHECK(in_bf16("nvidia_1.2b", 819, true).size() == 4);
  CHECK(in_bf16("nvidia_1.2b", 820, true).size() == 20);
  CHECK(find_published_model("nvidia_13b") == nullptr);
  const ModelRecipe m = model_recipe(*find_published_model("nvidia_8b"), 1000, false);
  CHECK(m.recipe == named("nvidia"));
  CHECK(recipe_at(m, {"model.embed_tokens", 9, 52}, 0) == named("bf16"));
  CHECK(recipe_at(m, {"lm_head", 9, 52}, 0) == named("bf16"));
}

TEST_CASE("linear: products one by one are those of the whole layer") {
  const Inputs in(48, 64, 32);
  const MatrixView x = in.x.view(), w = in.w.view(), dy = in.dy.view();
  for (const Recipe& recipe : recipes()) {
    CAPTURE(recipe.name);
    const LinearResult whole = in.run(recipe);
    const ProductResult y = linear_forward(recipe, x, w, 5, cpu_kernels());
    CHECK(y.pass.out.bytes == whole.fprop.out.bytes);
    CHECK(y.state == whole.state.fprop);
    for (const Gemm g : {Gemm::dgrad, Gemm::wgrad}) {
      const ProductResult before = needs_forward(recipe, g) ? y : ProductResult{};
      const ProductResult made = linear_backward(recipe, g, x, w, dy, before, 5, cpu_kernels());
      CHECK(made.pass.out.bytes == (g == Gemm::dgrad ? whole.dgrad : whole.wgrad).out.bytes);
      CHECK(made.state == whole.state[g]);
      if (needs_forward(recipe, g))
        CHECK_THROWS_AS(linear_backward(recipe, g, x, w, dy, {}, 5, cpu_kernels()), std::invalid_argument);
    }
  }
  CHECK_THROWS_AS(linear_backward(named("bf16"), Gemm::fprop, x, w, dy, {}, 5, cpu_kernels()),
                  std::invalid_argument);
  CHECK_THROWS_AS(linear_forward(named("bf16"), x, dy, 5, cpu_kernels()), std::invalid_argument);
}
