#include <doctest/doctest.h>

#include <nvfp4.h>

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
}

TEST_CASE("c: each thread has its own message") {
  CHECK(nvfp4_dequantize(nullptr, nullptr, 0) == NVFP4_INVALID);
  std::string other = "unset";
  std::thread([&] { other = nvfp4_message(); }).join();
  CHECK(other == "");
  CHECK(std::string(nvfp4_message()) == "nvfp4_dequantize: tensor is null");
}
