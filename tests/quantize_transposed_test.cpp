#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <stdexcept>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "tests/cpu_tables.hpp"
#include "tests/scattered.hpp"

using namespace nvfp4;

/// The quantized transpose against the transpose, quantized.
namespace {

constexpr Dtype every_dtype[] = {Dtype::fp32, Dtype::bf16, Dtype::fp16};

/// In `exponents` binades around the type's bias.
Matrix around_one(std::int64_t rows, std::int64_t cols, Dtype dtype, std::uint32_t exponents,
                  std::uint32_t special_every) {
  const std::uint32_t bias = dtype == Dtype::fp16 ? 15 : 127;
  return scattered::matrix(rows, cols, dtype, {bias - exponents / 2, exponents, special_every});
}

/// Many small tensors wake threads for nothing.
struct OneThread {
  const int before = threads();
  OneThread() { set_threads(1); }
  ~OneThread() { set_threads(before); }
};

/// Those of its specs that part ways inside: block shapes, row scales, an amax that is not the input's.
std::vector<QuantizeSpec> every_spec(const Dialect& dialect) {
  std::vector<QuantizeSpec> all(5, default_spec(dialect)), valid;
  all[1].block = {16, 16};
  all[2].amax = 1e-3f;
  all[3].tensor_scale = TensorScale::row;
  all[4].four_over_six = {256, Select::mse, true};
  for (const QuantizeSpec& spec : all) try {
      validate(spec);
      valid.push_back(spec);
    } catch (const std::invalid_argument&) {
    }
  return valid;
}

void check_against_transpose(const Matrix& x, const QuantizeSpec& spec) {
  CAPTURE(spec.dialect->name);
  CAPTURE(name(x.dtype));
  CAPTURE(x.rows);
  CAPTURE(x.cols);
  const BlockScaledTensor expected = cpu_kernels().quantize(transpose(x.view()).view(), spec, {});
  for (const Kernels* kernels : cpu_tables()) {
    CAPTURE(kernels->name);
    BlockScaledTensor reuse;
    reuse.codes.assign(99, 0xFF), reuse.scales.assign(99, 0xFF), reuse.global.assign(3, 1);
    const Difference d = compare(expected, kernels->quantize_transposed(x.view(), spec, std::move(reuse)));
    CHECK_MESSAGE(d.equal(), describe(*d.first));
  }
}

}  // namespace

TEST_CASE("quantize_transposed: the transpose quantized by every dialect and type and ragged shape" *
          doctest::test_suite("sweep")) {
  constexpr std::int64_t shapes[][2] = {{1, 1}, {37, 3}, {150, 70}, {1049, 9}};
  const OneThread alone;
  for (const Dialect* dialect : all_dialects())
    for (const QuantizeSpec& spec : every_spec(*dialect))
      for (const Dtype dtype : every_dtype)
        for (const auto& [rows, cols] : shapes) {
          check_against_transpose(around_one(rows, cols, dtype, 12, 0), spec);
          if (rows < 1000) check_against_transpose(around_one(rows, cols, dtype, 24, 40), spec);
        }
}

TEST_CASE("quantize_transposed: the transpose quantized on every case" * doctest::test_suite("sweep")) {
  const OneThread alone;
  for (const Dtype dtype : every_dtype)
    for (const std::string_view pack : case_packs())
      for (const Case& c : make_cases(pack, dtype, 3))
        for (const Dialect* dialect : {&dialects::te::info, &dialects::te_ref::info, &dialects::mlx::info}) {
          CAPTURE(c.name);
          check_against_transpose(c.input, default_spec(*dialect));
        }
}

TEST_CASE("quantize_transposed: the reference, literally") {
  for (const Dtype dtype : every_dtype) {
    const Matrix x = around_one(35, 5, dtype, 12, 40);
    for (const QuantizeSpec& spec : every_spec(dialects::te::info)) {
      const BlockScaledTensor expected = reference_kernels().quantize(transpose(x.view()).view(), spec, {});
      CHECK(compare(expected, reference_kernels().quantize_transposed(x.view(), spec, {})).equal());
      CHECK(compare(expected, cpu_kernels().quantize_transposed(x.view(), spec, {})).equal());
    }
  }
}

TEST_CASE("quantize_transposed: no thread count shows") {
  const int before = threads();
  const Matrix x = around_one(2100, 200, Dtype::bf16, 12, 0);
  const BlockScaledTensor expected = cpu_kernels().quantize(transpose(x.view()).view(), {}, {});
  for (const int count : {1, 2, 7}) {
    set_threads(count);
    CHECK(compare(expected, cpu_kernels().quantize_transposed(x.view(), {}, {})).equal());
  }
  set_threads(before);
}

TEST_CASE("quantize_transposed: refuses what quantize refuses") {
  for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()})
    CHECK_THROWS_AS(kernels->quantize_transposed(Matrix(16, 16).view(), {.block = {16, 32}}, {}),
                    std::invalid_argument);
}

/// Two-dimensional blocks are the transpose's too, so fprop and dgrad see one W; blocks of a row are not.
TEST_CASE("quantize_transposed: 16x16 codes of W and of its transpose are each other's transposes") {
  const Matrix w = around_one(64, 48, Dtype::bf16, 12, 0);
  const auto code = [](const BlockScaledTensor& t, std::int64_t i, std::int64_t j) {
    return t.codes[static_cast<std::size_t>(i * t.row_bytes() + j / 2)] >> (j % 2 * 4) & 15;
  };
  const auto parted = [&](BlockShape block) {
    const QuantizeSpec spec{.block = block};
    const BlockScaledTensor fprop = cpu_kernels().quantize(w.view(), spec, {}),
                            dgrad = cpu_kernels().quantize_transposed(w.view(), spec, {});
    int different = 0;
    for (std::int64_t i = 0; i < w.rows; ++i)
      for (std::int64_t j = 0; j < w.cols; ++j) different += code(fprop, i, j) != code(dgrad, j, i);
    return different;
  };
  CHECK(parted({16, 16}) == 0);
  CHECK(parted({1, 16}) > 100);
}
