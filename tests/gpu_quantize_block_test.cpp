#include "gpu/quantize_block.cuh"

#include <doctest/doctest.h>

#include <stdexcept>
#include <vector>

#include <nvfp4/cases.hpp>
#include <nvfp4/compare.hpp>
#include <nvfp4/kernels.hpp>

using namespace nvfp4;

/// What a GPU's thread does for a block, done by the host: every dialect against the CPU layer.
namespace {

bool is_valid(const QuantizeSpec& spec) {
  try {
    validate(spec);
  } catch (const std::invalid_argument&) {
    return false;
  }
  return true;
}

std::vector<QuantizeSpec> specs_of(const Dialect& dialect) {
  std::vector<QuantizeSpec> all(6, default_spec(dialect));
  all[1].tensor_scale = TensorScale::row;
  all[2].block = {16, 16};
  all[3].four_over_six = {256, Select::mse, false};
  all[4].stochastic =
      Stochastic{.rule = SrRule::carry, .map = ByteMap::hw, .random = {.seed = 7, .rounds = 7}};
  all[5].stochastic =
      Stochastic{.rule = SrRule::te_software, .map = ByteMap::te, .random = {.seed = 8, .row = 3}};
  std::erase_if(all, [](const QuantizeSpec& spec) { return !is_valid(spec); });
  return all;
}

template <class D>
void check(const Matrix& x, const QuantizeSpec& spec) {
  const BlockScaledTensor expected = cpu_kernels().quantize(x.view(), spec, {});
  const Matrix decoded = cpu_kernels().dequantize(expected);
  BlockScaledTensor actual = expected;
  std::ranges::fill(actual.codes, 0xA5);
  std::ranges::fill(actual.scales, 0xA5);
  gpu::QuantizeTask t = gpu::task_of(x.view(), false, spec);
  std::vector<float> amaxes;
  for (std::int64_t n = 0; n < (t.outer ? x.rows * t.scales_per_row : 1); ++n) {
    const gpu::Block all{t.x, t.outer ? n / t.scales_per_row : 0,
                         t.outer ? n % t.scales_per_row * t.outer : 0, t.outer ? 1 : static_cast<int>(x.rows),
                         static_cast<int>(t.outer ? t.outer : x.cols)};
    amaxes.push_back(gpu::amax_of(all, D::info.nan_in_tensor_amax).value);
  }
  t.amaxes = amaxes.data();
  t.out = {actual.codes.data(), actual.scales.data(), actual.global.data()};
  if constexpr (D::info.global_is != GlobalIs::none)
    for (std::size_t n = 0; n < actual.global.size(); ++n)
      actual.global[n] = gpu::kept_global<D>(t, static_cast<std::int64_t>(n));
  const std::int64_t bands = (x.rows + spec.block.rows - 1) / spec.block.rows;
  for (std::int64_t n = 0; n < bands * t.blocks_per_row; ++n) gpu::quantize_block<D>(t, n);
  if (!D::info.nan_codes_vary) CHECK(compare(expected, actual).equal());
  Matrix values(x.rows, x.cols);
  actual.codes = expected.codes;
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i)
    values.f32()[i] = gpu::dequantized<D>(t, i / x.cols, i % x.cols);
  CHECK(compare(decoded.view(), values.view(), "dequant").equal());
}

template <class D>
void check_all(D) {
  for (const QuantizeSpec& spec : specs_of(D::info))
    for (const std::string_view pack : case_packs())
      for (const Case& c : make_cases(pack, pack == "nonfinite" ? Dtype::bf16 : Dtype::fp32, 1)) {
        CAPTURE(D::info.name);
        CAPTURE(c.name);
        check<D>(c.input, spec);
      }
}

}  // namespace

TEST_CASE("a GPU thread's block is the CPU layer's by every dialect") {
  Dialects::table([]<class D>(D d) { return check_all(d), 0; });
}

TEST_CASE("a GPU thread reads FP16 and a transpose as the CPU layer does") {
  for (const Dtype dtype : {Dtype::fp32, Dtype::bf16, Dtype::fp16})
    for (const Case& c : make_cases("nonfinite", dtype, 1)) {
      const gpu::Elements x = gpu::elements(c.input.view(), true);
      const Matrix wide = converted(c.input.view(), Dtype::fp32, cpu_kernels());
      for (std::int64_t i = 0; i < x.rows; ++i)
        for (std::int64_t j = 0; j < x.cols; ++j) {
          const float expected = wide.f32()[j * x.rows + i], actual = x.at(i, j);
          CHECK(
              (gpu::bits_of(actual) == gpu::bits_of(expected) || (actual != actual && expected != expected)));
        }
    }
}
