#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include <nvfp4/nvfp4.hpp>
#include <nvfp4/outliers.hpp>

#include "gpu/chon.cuh"
#include "gpu/chon.hpp"
#include "tests/gaussian.hpp"
#include "tests/gpu_memory.hpp"

using namespace nvfp4;
using namespace gpu_memory;

namespace {

/// An operand in one of the memories.
struct There {
  There(const Matrix& x, const BlockScaledTensor& t, Where where)
      : bytes(where, x.bytes), codes(where, t.codes), scales(where, t.scales), global(where, t.global) {
    operand = {
        {bytes.data(), x.rows, x.cols, x.dtype}, false, {codes.data(), scales.data(), global.data()}, t.spec};
  }
  Buffer<std::byte> bytes;
  Buffer<std::uint8_t> codes, scales;
  Buffer<float> global;
  gpu::QuantizedOperand operand;
};

/// An empty tensor of rows x 16 blocks.
struct Empty {
  Empty(std::int64_t rows, std::int64_t blocks, Where where)
      : codes(where, static_cast<std::size_t>(8 * rows * blocks)),
        scales(where, static_cast<std::size_t>(rows * blocks)),
        global(where, 1) {}
  gpu::TensorParts parts() { return {codes.data(), scales.data(), global.data()}; }
  bool holds(const BlockScaledTensor& t) {
    return codes.values() == t.codes && scales.values() == t.scales && global.values() == t.global;
  }
  Buffer<std::uint8_t> codes, scales;
  Buffer<float> global;
};

Matrix bf16_matrix(std::int64_t rows, std::int64_t cols, unsigned seed, float outlier) {
  return converted(gaussian::matrix(rows, cols, seed, {7, 3, outlier}).view(), Dtype::bf16, cpu_kernels());
}

void add_scores(const gpu::QuantizedOperand& o, double* scores, Where where) {
  if (where == Where::device) return gpu::add_residual_scores(o, scores, nullptr);
  each(o.x.cols, gpu::AddResidualScore<dialects::te>{gpu::residual_of<dialects::te>(o, nullptr, 0), scores});
}

void quantize_residual(const gpu::QuantizedOperand& o, const std::int64_t* channels, std::int64_t count,
                       const float* amax, const RandomBits& random, const gpu::TensorParts& out,
                       Where where) {
  if (where == Where::device) return gpu::quantize_residual(o, channels, count, amax, random, out, nullptr);
  const std::int64_t tall = o.spec.block.rows;
  each_element((o.x.rows + tall - 1) / tall, count / 16,
               gpu::quantize_residual_task<dialects::te>(o, channels, count, amax, random, out));
}

/// The blocks that have a hot channel, and their channels, -1 for the cold.
struct HotBlocks {
  std::vector<std::int64_t> blocks, channels;
  explicit HotBlocks(const std::vector<std::int64_t>& hot) {
    for (const std::int64_t j : hot) {
      if (blocks.empty() || blocks.back() != j / 16) {
        blocks.push_back(j / 16);
        channels.resize(channels.size() + 16, -1);
      }
      channels[channels.size() - 16 + static_cast<std::size_t>(j % 16)] = j;
    }
  }
};

/// Adds the scores of an operand, literally.
void add_expected_scores(const Matrix& x, const BlockScaledTensor& q, std::vector<double>& scores) {
  const Matrix values = converted(x.view(), Dtype::fp32, cpu_kernels()),
               decoded = cpu_kernels().dequantize(q);
  for (std::int64_t j = 0; j < x.cols; ++j) {
    double sum = 0;
    for (std::int64_t i = 0; i < x.rows; ++i)
      sum += std::fabs(double{values.f32()[i * x.cols + j] - decoded.f32()[i * x.cols + j]});
    scores[static_cast<std::size_t>(j)] += sum / static_cast<double>(x.rows);
  }
}

/// The separate terms of fprop: [X~ W~], [R_I W~_I], [X~_I S_I].
void check(const Recipe& recipe, const Matrix& x, const Matrix& w, Where where) {
  const Matrix dy = bf16_matrix(x.rows, w.rows, 3, 1);
  const LinearResult all = linear(recipe, x.view(), w.view(), dy.view(), 5, cpu_kernels());
  const std::vector<Term>& terms = all.fprop.terms;
  const std::vector<std::int64_t>& hot = all.state.fprop.find("hot_channels")->second;
  const Matrix* sources[] = {&x, &w};
  const Operand *base[] = {&terms[0].a, &terms[0].b}, *residuals[] = {&terms[1].a, &terms[2].b},
                *copies[] = {&terms[2].a, &terms[1].b};
  Buffer<double> scores(where, static_cast<std::size_t>(x.cols));
  std::vector<double> expected_scores(static_cast<std::size_t>(x.cols));
  const HotBlocks blocks(hot);
  Buffer<std::int64_t> channels(where, blocks.channels), at(where, blocks.blocks);
  const auto count = std::ssize(blocks.channels);
  for (std::size_t side = 0; side < 2; ++side) {
    There there(*sources[side], *base[side]->quantized, where);
    add_scores(there.operand, scores.data(), where);
    add_expected_scores(*sources[side], *base[side]->quantized, expected_scores);
    const float largest = cpu_kernels().amax(sources[side]->view(), dialects::te::info);
    Buffer<float> amax(where, {&largest, 1});
    const BlockScaledTensor& expected = *residuals[side]->quantized;
    const RandomBits random = expected.spec.stochastic ? expected.spec.stochastic->random : RandomBits{};
    Empty made(expected.rows, count / 16, where), copied(expected.rows, count / 16, where);
    quantize_residual(there.operand, channels.data(), count, amax.data(), random, made.parts(), where);
    CHECK(made.holds(expected));
    if (where == Where::device)
      gpu::copy_blocks(there.operand.q, x.cols / 16, at.data(), count / 16, expected.rows, copied.parts(),
                       count / 16, 0, nullptr);
    else
      each_element(expected.rows, count / 16,
                   gpu::CopyBlock{there.operand.q, x.cols / 16, at.data(), copied.parts(), count / 16, 0});
    CHECK(copied.codes.values() == copies[side]->quantized->codes);
    CHECK(copied.scales.values() == copies[side]->quantized->scales);
  }
  CHECK(scores.values() == expected_scores);
  CHECK(top_channels(scores.values(), std::ssize(hot)) == hot);
}

}  // namespace

TEST_CASE_TEMPLATE("gpu chon: scores, residuals and copies of fprop's operands", Place, OnHost, OnDevice) {
  for (const Where where : places<Place>())
    for (const bool tiles : {false, true})
      for (const bool stochastic : {false, true})
        for (const char* channels : {"m/32", "20", "64"})
          for (const std::int64_t in : {64, 160, 512})
            for (const float outlier : {1.f, 500.f}) {
              Recipe recipe = *find_recipe("chon");
              recipe.fprop.scheme.options["residuals"] = "separate";
              recipe.fprop.scheme.options["channels"] = channels;
              recipe.fprop.a.stochastic = stochastic;
              recipe.fprop.b.block = tiles ? BlockShape{16, 16} : BlockShape{1, 16};
              CAPTURE(in);
              CAPTURE(channels);
              check(recipe, bf16_matrix(35, in, 1, outlier), bf16_matrix(49, in, 2, 1), where);
            }
}

TEST_CASE("gpu chon: refusals") {
  const Matrix x(2, 32);
  const gpu::QuantizedOperand te{x.view(), false, {}, {}},
      vllm{x.view(), false, {}, default_spec(dialects::vllm::info)};
  CHECK_THROWS_AS(gpu::quantize_residual(te, nullptr, 8, nullptr, {}, {}, nullptr), std::invalid_argument);
  CHECK_THROWS_AS(gpu::add_residual_scores(vllm, nullptr, nullptr), std::invalid_argument);
}
