#include <doctest/doctest.h>

#include <string>

#include <nvfp4/nvfp4.hpp>

#include "gpu/arcquant.cuh"
#include "gpu/arcquant.hpp"
#include "tests/gaussian.hpp"
#include "tests/gpu_memory.hpp"

using namespace nvfp4;
using namespace gpu_memory;

namespace {

Matrix bf16_matrix(std::int64_t rows, std::int64_t cols, unsigned seed, float outlier) {
  return converted(gaussian::matrix(rows, cols, seed, {7, 3, outlier}).view(), Dtype::bf16, cpu_kernels());
}

/// The order that a state has, filled up with channels of zeros.
std::vector<std::int64_t> padded_order(const SchemeState& state) {
  const std::vector<std::int64_t>& order = state.find("order")->second;
  std::vector<std::int64_t> padded((16 - order.size() % 16) % 16, -1);
  padded.insert(padded.end(), order.begin(), order.end());
  return padded;
}

BlockScaledTensor augmented(const Matrix& x, gpu::Augmentation a, const std::vector<std::int64_t>& order,
                            float amax, const BlockScaledTensor& like, Where where) {
  Buffer<std::byte> in(where, x.bytes);
  Buffer<std::int64_t> channels(where, order);
  Buffer<float> largest(where, {&amax, 1}), global(where, 1);
  Buffer<std::uint8_t> codes(where, like.codes.size()), scales(where, like.scales.size());
  a.order = channels.data(), a.channels = std::ssize(order);
  const MatrixView there{in.data(), x.rows, x.cols, x.dtype};
  const gpu::TensorParts out{codes.data(), scales.data(), global.data()};
  if (where == Where::host)
    gpu::with_dialect_of(gpu::ArcquantDialects{}, *like.spec.dialect, [&]<class D>(D) {
      each_element(x.rows, a.channels / 16, gpu::quantize_augmented_task<D>(there, a, largest.data(), out));
    });
  else
    gpu::quantize_augmented(there, a, *like.spec.dialect, largest.data(), out, nullptr);
  BlockScaledTensor made = like;
  made.codes = codes.values(), made.scales = scales.values(), made.global = global.values();
  return made;
}

bool same(const BlockScaledTensor& a, const BlockScaledTensor& b) {
  return a.codes == b.codes && a.scales == b.scales && a.global == b.global;
}

void check(const Recipe& recipe, const Matrix& x, const Matrix& w, Where where) {
  const Matrix dy = bf16_matrix(x.rows, w.rows, 3, 1);
  const LinearResult all = linear(recipe, x.view(), w.view(), dy.view(), 5, cpu_kernels());
  const SchemeState& state = all.state.fprop;
  const Term& term = all.fprop.terms[0];
  const auto& options = recipe.fprop.scheme.options;
  const bool by_code = options.at("mode") == "code";
  const std::string layout = options.at("layout");
  const std::int64_t outliers = state.find("residuals")->second[0];
  if (outliers == 0) return;
  const gpu::Augmentation a{by_code ? gpu::Augmented::residuals_by_code : gpu::Augmented::residuals, nullptr,
                            0, outliers, layout == "interleaved" || (layout == "by_mode" && by_code)};
  gpu::Augmentation b = a;
  b.by = gpu::Augmented::copies;
  const Dialect& dialect = *term.a.quantized->spec.dialect;
  const float a_amax = cpu_kernels().amax(x.view(), dialect),
              b_amax = by_code ? *term.b.quantized->spec.amax : cpu_kernels().amax(w.view(), dialect);
  const std::vector<std::int64_t> order = padded_order(state);
  CAPTURE(recipe.name);
  CAPTURE(x.cols);
  CAPTURE(outliers);
  CHECK(same(augmented(x, a, order, a_amax, *term.a.quantized, where), *term.a.quantized));
  CHECK(same(augmented(w, b, order, b_amax, *term.b.quantized, where), *term.b.quantized));
}

}  // namespace

TEST_CASE_TEMPLATE("gpu arcquant: both operands of both modes and layouts" * doctest::test_suite("sweep"),
                   Place, OnHost, OnDevice) {
  for (const Where where : places<Place>())
    for (const char* name : {"arcquant", "arcquant_code"})
      for (const char* layout : {"concatenated", "interleaved"})
        for (const char* channels : {"calibrated", "16", "48", "1000"})
          for (const std::int64_t in : {16, 40, 64, 100, 256})
            for (const float outlier : {1.f, 40.f, 3000.f}) {
              Recipe recipe = *find_recipe(name);
              recipe.fprop.scheme.options["layout"] = layout;
              recipe.fprop.scheme.options["channels"] = channels;
              check(recipe, bf16_matrix(19, in, 1, outlier), bf16_matrix(23, in, 2, 1), where);
            }
}

TEST_CASE("gpu arcquant: refusals") {
  const Matrix x(2, 32);
  const gpu::Augmentation a{.channels = 32, .outliers = 8};
  CHECK_THROWS_AS(gpu::quantize_augmented(x.view(), a, dialects::te::info, nullptr, {}, nullptr),
                  std::invalid_argument);
  CHECK_THROWS_AS(gpu::quantize_augmented(x.view(), {}, dialects::vllm::info, nullptr, {}, nullptr),
                  std::invalid_argument);
}
