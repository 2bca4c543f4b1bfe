#include <doctest/doctest.h>
#include <nvfp4/testing.hpp>

#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>
#include <sstream>

#include <nvfp4/nvfp4.hpp>

#include "tests/program.hpp"

/// nvfp4::testing::compare, as the test of somebody's kernel calls it.
using namespace nvfp4;
using program::has;
using testing::Padding;
using testing::Report;
using testing::Result;

namespace {

/// 20 x 40, of every sign; block (3, 1) is zero, and a -0 stands at (4, 2).
Matrix example() {
  Matrix x(20, 40);
  for (std::int64_t i = 0; i < 20 * 40; ++i) x.f32()[i] = static_cast<float>(i * 7919 % 1009) / 64 - 8;
  for (std::int64_t j = 16; j < 32; ++j) x.f32()[3 * 40 + j] = 0;
  x.f32()[4 * 40 + 2] = -0.0f;
  return x;
}

/// What a kernel left in memory: the right bytes, for a test to bend.
struct Kernel {
  explicit Kernel(ScaleLayout layout = ScaleLayout::tiled_128x4, const QuantizeSpec& spec = {})
      : input(example()),
        expected(reference_kernels().quantize(input.view(), spec, {})),
        layout(layout),
        codes(expected.codes),
        scales(to_layout(layout, expected.scales, 20, 3)),
        global(expected.global) {}

  Result result() const { return {.codes = codes, .scales = scales, .global = global, .layout = layout}; }
  Report report() const { return testing::compare(result(), expected, input.view()); }

  Matrix input;
  BlockScaledTensor expected;
  ScaleLayout layout;
  std::vector<std::uint8_t> codes, scales;
  std::vector<float> global;
};

}  // namespace

TEST_CASE("testing: the right bytes are equal in every layout") {
  for (const ScaleLayout layout : scale_layouts())
    for (const QuantizeSpec& spec :
         {QuantizeSpec{}, QuantizeSpec{.block = {16, 16}}, QuantizeSpec{.tensor_scale = TensorScale::row}}) {
      const Report report = Kernel(layout, spec).report();
      CHECK(report.message == "");
      CHECK(report.equal());
      CHECK(report.differing_bytes == 0);
      CHECK(report.differing_values == 0);
    }
}

TEST_CASE("testing: one code") {
  Kernel kernel;
  kernel.codes[5 * 24 + 9] ^= 0x30;  // elements (5, 18), (5, 19): the high nibble
  const Report report = kernel.report();
  CHECK(!report.equal());
  CHECK(report.differing_bytes == 1);
  CHECK(report.differing_values == 1);
  const int was = kernel.expected.codes[5 * 24 + 9];
  char line[120];
  std::snprintf(line, sizeof line, "first: packed (5, 9), block (5, 1): expected 0x%02X, actual 0x%02X\n",
                was, was ^ 0x30);
  CHECK(report.message.starts_with(
      "1 bytes differ: packed 1 of 480, scales 0 of 60, global 0 of 1, padding 0; values 1 of 800\n"));
  CHECK(has(report.message, line));
  const Matrix values = reference_kernels().dequantize(kernel.expected);
  std::snprintf(line, sizeof line, "element (5, 19), lane 3: expected %.9g, actual ",
                values.f32()[5 * 40 + 19]);
  CHECK(has(report.message, line));
  CHECK(!has(report.message, "suspected"));
}

TEST_CASE("testing: the explain line runs and shows the expected code") {
  for (const QuantizeSpec& spec :
       {QuantizeSpec{}, QuantizeSpec{.block = {16, 16}}, QuantizeSpec{.tensor_scale = TensorScale::row},
        QuantizeSpec{.dialect = find_dialect("te_ref"), .amax = 50.0f}}) {
    Kernel kernel(ScaleLayout::linear, spec);
    kernel.codes[7 * 24 + 2] ^= 0x01;  // element (7, 4)
    const std::string message = kernel.report().message;
    const auto start = message.find("run: nvfp4 ");
    REQUIRE(start != std::string::npos);
    std::istringstream words(message.substr(start + 11, message.find('\n', start) - start - 11));
    const auto explained = program::json({std::istream_iterator<std::string>(words), {}});
    REQUIRE(explained.contains("values"));
    CHECK(explained["values"][0].value("code", 99) == (kernel.expected.codes[7 * 24 + 2] & 15));
    CHECK(explained["values"][0].value("scale_code", 999) == kernel.expected.scales[7 * 3]);
  }
}

TEST_CASE("testing: the explain line has the element type and the 4over6 options, and runs") {
  Matrix x(1, 16, Dtype::bf16);
  for (int i = 0; i < 16; ++i) x.u16()[i] = static_cast<std::uint16_t>(0x3F80 + i);  // 1 and up
  QuantizeSpec spec = default_spec(dialects::te_4over6::info);
  spec.four_over_six = {256, Select::mse, true};
  const std::string line = testing::explain_command(x.view(), spec, 0, 0);
  CHECK(line ==
        "nvfp4 explain 1 --amax 1.1171875 --tensor-amax 1.1171875 --dialect te_4over6 --dtype bf16 "
        "--e4m3-max 256 --select mse --error-fast");
  std::istringstream words(line.substr(6));
  CHECK(program::run({std::istream_iterator<std::string>(words), {}}).exit_code == 0);
}

TEST_CASE("testing: how far the right rounding was from a tie") {
  Matrix x(1, 16);
  x.f32()[0] = 6, x.f32()[1] = 2.5f, x.f32()[2] = 1.125f;
  const BlockScaledTensor expected = cpu_kernels().quantize(x.view(), {}, {});
  const auto message = [&](int byte, int bits) {
    BlockScaledTensor actual = expected;
    actual.codes[static_cast<std::size_t>(byte)] ^= static_cast<std::uint8_t>(bits);
    return testing::compare(actual, expected, x.view()).message;
  };
  CHECK(has(message(0, 0x10), "\ntie margin: 0, 2.5 between 2 and 3\nrun: "));
  CHECK(has(message(1, 0x01), "\ntie margin: 0.125, 1.125 between 1 and 1.5\nrun: "));
  CHECK(has(message(0, 0x01), "\ntie margin: none, exact\nrun: "));
  BlockScaledTensor actual = expected;
  actual.scales[0] ^= 1;
  CHECK(has(testing::compare(actual, expected, x.view()).message, "\ntie margin: none, beyond the largest"));
  CHECK(!has(testing::compare(actual, expected).message, "tie margin"));
}

TEST_CASE("testing: one scale comes before the codes that it moved") {
  Kernel kernel;
  kernel.scales[static_cast<std::size_t>(offset(kernel.layout, 17, 2, 3))] ^= 0x04;
  kernel.codes[0] ^= 0x01;
  const Report report = kernel.report();
  CHECK(report.differing_bytes == 2);
  CHECK(report.differing_values == 9);  // the block at the end of a row has 8 elements
  CHECK(has(report.message, "first: scales (17, 2), block (17, 2): expected "));
  CHECK(has(report.message, "element (17, 32), lane 0: expected "));
}

TEST_CASE("testing: a scale of the tensor") {
  Kernel kernel;
  kernel.global[0] =
      std::bit_cast<float>(std::bit_cast<std::uint32_t>(kernel.expected.global[0]) ^ 0x00010101u);
  const Report report = kernel.report();
  CHECK(report.differing_bytes == 3);
  CHECK(report.differing_values > 700);
  CHECK(has(report.message, "first: global (0): expected 0x"));
  CHECK(!has(report.message, "suspected"));
}

TEST_CASE("testing: the block of an element in 16x16 blocks") {
  Kernel kernel(ScaleLayout::linear, {.block = {16, 16}});
  kernel.codes[17 * 24 + 8] ^= 0x01;
  CHECK(has(kernel.report().message, "first: packed (17, 8), block (1, 1): expected "));
}

TEST_CASE("testing: suspected causes") {
  SUBCASE("swapped nibbles") {
    Kernel kernel;
    for (std::uint8_t& byte : kernel.codes) byte = static_cast<std::uint8_t>(byte << 4 | byte >> 4);
    CHECK(has(kernel.report().message, "suspected cause: swapped_nibbles: "));
    kernel.codes[0] ^= 1;
    CHECK(!has(kernel.report().message, "suspected"));
  }
  SUBCASE("ggml's packing") {
    Kernel kernel;
    repack(kernel.codes, Packing::low_first, Packing::ggml);
    CHECK(has(kernel.report().message, "suspected cause: swapped_nibbles: the codes are right in ggml's"));
  }
  SUBCASE("another layout of the same size") {
    const Matrix x = program::Input(128, 64).x;
    const BlockScaledTensor expected = cpu_kernels().quantize(x.view(), {}, {});
    const Report report =
        testing::compare(Result{.scales = expected.scales, .layout = ScaleLayout::tiled_128x4}, expected);
    CHECK(has(report.message,
              "suspected cause: scale_layout: the scales are right in layout linear, not 128x4"));
  }
  SUBCASE("padding only") {
    Kernel kernel;
    kernel.scales[3] = 0x7B;  // column 3 of row 0: there are 3 columns
    const Report report = kernel.report();
    CHECK(report.differing_bytes == 1);
    CHECK(report.differing_values == 0);
    CHECK(
        has(report.message, "first: padding byte 3 of the scales, layout 128x4: expected 0x00, actual 0x7B"));
    CHECK(has(report.message, "suspected cause: padding_only"));
    Result result = kernel.result();
    result.padding = Padding::anything;
    CHECK(testing::compare(result, kernel.expected).equal());
  }
  SUBCASE("codes under a zero scale") {
    Kernel kernel;
    REQUIRE(kernel.expected.scales[3 * 3 + 1] == 0);
    kernel.codes[3 * 24 + 8] ^= 0x57;
    const Report report = kernel.report();
    CHECK(report.differing_bytes == 1);
    CHECK(report.differing_values == 0);
    CHECK(has(report.message, "suspected cause: inert_codes"));
    kernel.scales[0] ^= 0x01;
    CHECK(!has(kernel.report().message, "suspected"));
  }
  SUBCASE("-0 for +0") {
    Kernel kernel;
    REQUIRE((kernel.expected.codes[4 * 24 + 1] & 15) == 8);
    kernel.codes[4 * 24 + 1] ^= 0x08;
    CHECK(has(kernel.report().message, "suspected cause: minus_zero"));
    kernel.codes[4 * 24 + 2] ^= 0x08;  // element (4, 4), which is not zero
    CHECK(!has(kernel.report().message, "suspected"));
  }
}

TEST_CASE("testing: sizes") {
  Kernel kernel;
  kernel.codes.pop_back();
  CHECK(kernel.report().message == "packed: expected 480 bytes, found 479\n");
  Kernel linear;
  linear.scales = linear.expected.scales;
  CHECK(linear.report().message ==
        "scales: expected 512 bytes, found 60, by layout 128x4; layout linear has this size; layout 4-token "
        "has "
        "this size\n");
  Kernel two;
  two.global.push_back(1);
  CHECK(two.report().message == "global: expected 1 values, found 2\n");
  BlockScaledTensor narrow = two.expected;
  narrow.cols = 39;
  CHECK(testing::compare(narrow, two.expected).message == "shape: expected (20, 40), found (20, 39)\n");
}

TEST_CASE("testing: an input of another shape is no input") {
  const Kernel kernel;
  CHECK_THROWS_AS(testing::compare(kernel.expected, kernel.expected, Matrix(40, 20).view()),
                  std::invalid_argument);
}

TEST_CASE("testing: what is not given is not compared") {
  Kernel kernel;
  kernel.codes[0] ^= 1;
  kernel.global[0] = 3;
  CHECK(testing::compare(Result{.scales = kernel.scales, .layout = kernel.layout}, kernel.expected).equal());
  CHECK(testing::compare(Result{.codes = kernel.codes}, kernel.expected).differing_bytes == 1);
}

TEST_CASE("testing: a NaN is a NaN") {
  Matrix x = example();
  x.f32()[0] = NAN;
  const BlockScaledTensor expected =
      reference_kernels().quantize(x.view(), {.dialect = find_dialect("te_ref")}, {});
  BlockScaledTensor actual = expected;
  REQUIRE(std::isnan(actual.global[0]));
  REQUIRE(actual.scales[0] == 0x7F);
  actual.global[0] = std::bit_cast<float>(0x7FFFFFFFu);
  actual.scales[0] = 0xFF;
  CHECK(testing::compare(actual, expected).equal());
  actual.scales[0] = 0x7E;
  CHECK(testing::compare(actual, expected).differing_bytes == 1);
}

TEST_CASE("testing: memory that only the caller's function can read") {
  const Kernel kernel;
  // Addresses off by one page stand for another address space.
  const auto away = [](const auto& host) {
    using T = std::remove_cvref_t<decltype(host[0])>;
    return std::span<const T>(
        reinterpret_cast<const T*>(reinterpret_cast<std::uintptr_t>(host.data()) + 4096), host.size());
  };
  std::size_t copied = 0;
  Result result{.codes = away(kernel.codes),
                .scales = away(kernel.scales),
                .global = away(kernel.global),
                .layout = kernel.layout};
  result.copy = [&](void* host, const void* from, std::size_t size) {
    std::memcpy(host, reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(from) - 4096), size);
    copied += size;
  };
  CHECK(testing::compare(result, kernel.expected).equal());
  CHECK(copied == 480 + 512 + 4);
}
