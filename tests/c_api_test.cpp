#include <doctest/doctest.h>

#include <nvfp4.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>

#include <nvfp4/nvfp4.hpp>

#include "tests/c_api.h"

/// nvfp4.h. What a caller sees is in c_api.c, compiled as C; here is what only C++ can ask.
namespace {

std::string outcome(const char* (*scenario)()) {
  const char* failure = scenario();
  return failure ? failure : "";
}

}  // namespace

TEST_CASE("c: a program in C") {
  CHECK(outcome(c_quantizes_and_dequantizes) == "");
  CHECK(outcome(c_options_reach_the_bytes) == "");
  CHECK(outcome(c_four_over_six) == "");
  CHECK(outcome(c_rounds_stochastically) == "");
  CHECK(outcome(c_multiplies) == "");
  CHECK(outcome(c_compares) == "");
  CHECK(outcome(c_reads_device_memory) == "");
  CHECK(outcome(c_takes_bytes) == "");
  CHECK(outcome(c_refuses) == "");
}

TEST_CASE("c: the bytes of every dialect are the library's") {
  const std::vector<nvfp4::Case> cases = nvfp4::make_cases("random", nvfp4::Dtype::bf16, 1);
  for (const nvfp4::Dialect* dialect : nvfp4::all_dialects())
    for (const nvfp4::Case& c : cases) {
      if (dialect->per_row || dialect->block_cols != 16) continue;  // no defaults of this interface
      CAPTURE(dialect->name);
      const auto expected = nvfp4::cpu_kernels().quantize(c.input.view(), {.dialect = dialect}, {});
      const nvfp4_matrix input = {c.input.bytes.data(), c.input.rows, c.input.cols, NVFP4_BF16};
      const std::string name(dialect->name);
      nvfp4_options options = NVFP4_OPTIONS;
      options.dialect = name.c_str();
      nvfp4_tensor* tensor = nullptr;
      REQUIRE(nvfp4_quantize(&input, &options, &tensor) == NVFP4_OK);
      std::size_t codes = 0, scales = 0;
      const std::uint8_t* first_code = nvfp4_codes(tensor, &codes);
      const std::uint8_t* first_scale = nvfp4_scales(tensor, &scales);
      CHECK((std::vector<std::uint8_t>(first_code, first_code + codes) == expected.codes));
      CHECK((std::vector<std::uint8_t>(first_scale, first_scale + scales) == expected.scales));
      nvfp4_free(tensor);
    }
}

TEST_CASE("c: the enumerators are the library's") {
  CHECK(static_cast<int>(nvfp4::Dtype::bf16) == NVFP4_BF16);
  CHECK(static_cast<int>(nvfp4::Dtype::fp16) == NVFP4_FP16);
  CHECK(static_cast<int>(nvfp4::ScaleLayout::tiled_128x4) == NVFP4_LAYOUT_128X4);
  CHECK(static_cast<int>(nvfp4::ScaleLayout::tiled_8x4) == NVFP4_LAYOUT_8X4);
  CHECK(static_cast<int>(nvfp4::ScaleLayout::interleaved_4_tokens) == NVFP4_LAYOUT_4_TOKEN);
  CHECK(static_cast<int>(nvfp4::TensorScale::row) == NVFP4_SCALE_PER_ROW);
  CHECK(static_cast<int>(nvfp4::SrRule::te_software) == NVFP4_SR_TE_SOFTWARE);
  CHECK(static_cast<int>(nvfp4::ByteMap::te) == NVFP4_BYTE_MAP_TE);
}

TEST_CASE("c: stochastic rounding is the library's, and so is a product") {
  const nvfp4::Case c = nvfp4::make_cases("random", nvfp4::Dtype::fp32, 1).front();
  const nvfp4::QuantizeSpec spec{
      .stochastic = nvfp4::Stochastic{.rule = nvfp4::SrRule::te_software,
                                      .map = nvfp4::ByteMap::te,
                                      .random = {.seed = 3, .stream = 4, .rounds = 7, .row = 5, .col = 32}}};
  const nvfp4::BlockScaledTensor expected = nvfp4::reference_kernels().quantize(c.input.view(), spec, {});
  nvfp4_options options = NVFP4_OPTIONS;
  options.stochastic = 1;
  options.sr_rule = NVFP4_SR_TE_SOFTWARE;
  options.byte_map = NVFP4_BYTE_MAP_TE;
  options.seed = 3, options.stream = 4;
  options.random_rounds = 7, options.random_row = 5, options.random_col = 32;
  const nvfp4_matrix input = {c.input.bytes.data(), c.input.rows, c.input.cols, NVFP4_FP32};
  nvfp4_tensor* tensor = nullptr;
  REQUIRE(nvfp4_quantize(&input, &options, &tensor) == NVFP4_OK);
  CHECK(std::equal(expected.codes.begin(), expected.codes.end(), nvfp4_codes(tensor, nullptr)));

  const nvfp4::Accumulation& acc = *nvfp4::find_accumulation("sm100_nvfp4");
  const nvfp4::GemmSpec product{.scaling = nvfp4::output_scaling(expected, expected),
                                .cuts = nvfp4::split_k(expected, acc, 2)};
  const nvfp4::Matrix d = nvfp4::gemm(expected, expected, acc, product, nvfp4::reference_kernels());
  std::vector<float> values(static_cast<std::size_t>(d.rows * d.cols));
  nvfp4_gemm_options gemm = NVFP4_GEMM_OPTIONS;
  gemm.split_k = 2;
  REQUIRE(nvfp4_gemm(tensor, tensor, &gemm, values.data(), values.size()) == NVFP4_OK);
  CHECK((std::memcmp(values.data(), d.bytes.data(), d.bytes.size()) == 0));
  nvfp4_free(tensor);
}

TEST_CASE("c: each thread has its own message") {
  CHECK(nvfp4_dequantize(nullptr, nullptr, 0) == NVFP4_INVALID);
  std::string other = "unset";
  std::thread([&] { other = nvfp4_message(); }).join();
  CHECK(other == "");
  CHECK(std::string(nvfp4_message()) == "nvfp4_dequantize: tensor is null");
}
