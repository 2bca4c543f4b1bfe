#include <doctest/doctest.h>

#include <nvfp4/io.hpp>

#include "tests/scratch.hpp"

using namespace nvfp4;
using namespace nvfp4::io;
using scratch::refusal;

namespace {

const std::string files = NVFP4_GOLDEN_DIR "/files/";

}  // namespace

TEST_CASE("golden form: cases and their arrays in the order of the file") {
  const auto file = open_arrays(files + "golden_form.npz");
  const std::vector<GoldenCase> cases = golden_cases(*file);
  REQUIRE(cases.size() == 2);
  CHECK(cases[0].name == "ties");
  CHECK(cases[1].name == "ragged/3x20");
  for (const GoldenCase& c : cases)
    CHECK(c.arrays == std::vector<std::string>{"input", "packed", "scales", "global"});
}

TEST_CASE("golden form: tensors without a manifest") {
  const auto file = open_arrays(files + "golden_form.npz");
  const QuantizeSpec spec;
  const BlockScaledTensor t = read_tensor(*file, "ragged/3x20/", spec, 3, 20);
  CHECK(t.row_bytes() == 16);
  CHECK(t.codes.size() == 48);
  CHECK(t.codes[47] == 47);
  CHECK(t.scales == std::vector<std::uint8_t>{0, 1, 2, 3, 4, 5});
  CHECK(t.global == std::vector<float>{1});
  CHECK(refusal([&] {
          read_tensor(*file, "ragged/3x20/", spec, 3, 40);
        }).find("array 'ragged/3x20/packed': expected uint8 (3, 24), found uint8 (3, 16)") !=
        std::string::npos);
  CHECK(refusal([&] { read_tensor(*file, "none/", spec, 3, 20); }).find("array 'none/packed'") !=
        std::string::npos);
}

TEST_CASE("golden form: inputs beside the arrays or by the name of the case") {
  const auto file = open_arrays(files + "golden_form.npz");
  const Matrix m = golden_input(*file, "ragged/3x20");
  CHECK(m.dtype == Dtype::bf16);
  CHECK(m.rows == 3);
  CHECK(m.cols == 20);
  CHECK(m.u16()[1] == 0x3F80);
  CHECK(golden_input(*open_arrays(files + "stored.npz"), "a").dtype == Dtype::fp32);
  CHECK(refusal([&] {
          golden_input(*file, "x");
        }).find("case 'x': expected array 'x/input' or 'x', found neither") != std::string::npos);
}
