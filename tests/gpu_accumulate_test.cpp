#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <nvfp4/kernels.hpp>
#include <nvfp4/nvfp4.hpp>

#include "gpu/accumulate.cuh"
#include "src/hypotheses.hpp"
#include "tests/adversary.hpp"
#include "tests/gpu_memory.hpp"
#include "tests/scattered.hpp"

using namespace nvfp4;
using namespace adversary;
using namespace gpu_memory;

namespace {

Codes gpu_mma(const MmaOperands& x, const Accumulation& acc, bool every_step, Where where) {
  const bool fp64 = acc.sum == Summation::fp64_fma;
  Buffer<std::uint64_t> a(where, x.a), b(where, x.b), c(where, x.c);
  Buffer<std::uint8_t> a_scales(where, x.a_scales), b_scales(where, x.b_scales);
  const auto operand = [&](auto& codes, auto& scales, Format format) {
    return gpu::CodeMatrix{codes.data(), 64, 8 * x.k, fp64 ? std::nullopt : std::optional(format),
                           scales.data()};
  };
  const gpu::MatrixProduct product{operand(a, a_scales, x.a_format),
                                   operand(b, b_scales, x.b_format),
                                   x.tiles,
                                   x.rows,
                                   x.cols,
                                   x.k,
                                   x.scale,
                                   std::max(x.block, 1),
                                   c.data()};
  const std::int64_t n = x.tiles * x.rows * x.cols, kept = every_step ? gpu::chain_length(acc, x.k) : 1;
  Buffer<std::uint64_t> out(where, static_cast<std::size_t>(n * kept));
  if (where == Where::host)
    each(n, gpu::MmaOutput{gpu::chain_of(product, acc), every_step, out.data()});
  else
    gpu::mma(product, acc, every_step, out.data(), nullptr);
  return out.values();
}

void check_agrees(const Accumulation& acc, int rounds, unsigned seed, Where where) {
  Adversary adversary(seed);
  for (int round = 0; round < rounds; ++round)
    for (const Format format : elements_of(acc)) {
      const std::int64_t k = adversary.below(2)
                                 ? acc.k
                                 : 1 + adversary.below(3 * static_cast<std::uint32_t>(std::max(acc.k, 20)));
      Accumulation scaled = acc;
      if (acc.group > acc.other_block) scaled.other_block = 0;
      if (takes_all(acc) && adversary.below(2))
        scaled.scale = format == Format::e2m1 && adversary.below(2) ? Format::ue4m3 : Format::e8m0,
        scaled.block = 16;
      const MmaOperands x = adversary.operands(scaled, format, 8, k);
      const bool every_step = adversary.below(2);
      CAPTURE(acc.name);
      CAPTURE(info(format).name);
      CAPTURE(k);
      CHECK(gpu_mma(x, scaled, every_step, where) == reference_kernels().mma(x, scaled, every_step));
    }
}

Matrix multiplied(const gpu::MatrixProduct& product, const Accumulation& acc, Where where) {
  Matrix d(product.rows, product.cols);
  Buffer<float> out(where, static_cast<std::size_t>(d.rows * d.cols));
  if (where == Where::host)
    each(d.rows * d.cols, gpu::ProductOutput{gpu::chain_of(product, acc), out.data()});
  else
    gpu::multiply(product, acc, out.data(), nullptr);
  std::ranges::copy(out.values(), d.f32());
  return d;
}

Matrix gpu_multiply(const BlockScaledTensor& a, const BlockScaledTensor& b, const Accumulation& acc,
                    Where where) {
  Buffer<std::uint8_t> a_codes(where, a.codes), b_codes(where, b.codes), a_scales(where, a.scales),
      b_scales(where, b.scales);
  const gpu::MatrixProduct product{gpu::code_matrix(a, a_codes.data(), a_scales.data()),
                                   gpu::code_matrix(b, b_codes.data(), b_scales.data()),
                                   1,
                                   a.rows,
                                   b.rows,
                                   a.cols,
                                   a.spec.dialect->scale,
                                   a.spec.block.cols};
  return multiplied(product, acc, where);
}

/// What dense_codes() makes of a matrix.
struct Dense {
  Dense(MatrixView x, std::optional<Format> format, Where where)
      : values(where, {static_cast<const std::byte*>(x.data),
                       static_cast<std::size_t>(x.rows * x.cols) * size_of(x.dtype)}),
        codes(where, static_cast<std::size_t>(x.rows * x.cols)),
        strangers(where, 1) {
    const MatrixView there{values.data(), x.rows, x.cols, x.dtype};
    if (where == Where::host)
      each_element(x.rows, x.cols, gpu::dense_code(there, format, codes.data(), strangers.data()));
    else
      gpu::dense_codes(there, format, codes.data(), strangers.data(), nullptr);
    matrix = {codes.data(), 32, 4 * x.cols, format};
  }
  Buffer<std::byte> values;
  Buffer<std::uint32_t> codes, strangers;
  gpu::CodeMatrix matrix;
};

Matrix gpu_multiply_dense(MatrixView a, MatrixView b, const Accumulation& acc, Where where) {
  const std::optional<Format> format = dense_format(acc, a, b);
  Dense x(a, format, where), y(b, format, where);
  CHECK(x.strangers.values()[0] + y.strangers.values()[0] == 0);
  const gpu::MatrixProduct product{x.matrix, y.matrix, 1, a.rows, b.rows, a.cols};
  return multiplied(product, acc, where);
}

bool same(const Matrix& a, const Matrix& b) {
  return a.rows == b.rows && a.cols == b.cols && a.bytes == b.bytes;
}

}  // namespace

TEST_CASE_TEMPLATE("gpu mma: every model on adversarial operands" * doctest::test_suite("sweep"), Place,
                   OnHost, OnDevice) {
  for (const Where where : places<Place>()) {
    unsigned seed = 0;
    for (const Accumulation& acc : accumulations()) {
      if (acc.sum == Summation::fp64_fma) continue;
      check_agrees(acc, 10, ++seed, where);
      if (acc.has_fp16) check_agrees(fp16_accumulator(acc), 10, ++seed, where);
    }
  }
}

TEST_CASE_TEMPLATE("gpu mma: every hypothesis" * doctest::test_suite("sweep"), Place, OnHost, OnDevice) {
  for (const Where where : places<Place>()) {
    unsigned seed = 1000;
    for (const auto& set : {nvfp4_hypotheses(), chain_hypotheses(), k96_hypotheses(), mxfp4_hypotheses()})
      for (const Hypothesis& h : set) check_agrees(h.acc, 6, ++seed, where);
  }
}

TEST_CASE_TEMPLATE("gpu mma: models that nobody has built" * doctest::test_suite("sweep"), Place, OnHost,
                   OnDevice) {
  for (const Where where : places<Place>()) {
    unsigned seed = 100;
    for (const std::string model : {"sm90_bf16", "sm90_fp8", "sm90_fp8_mma", "sm100_tf32", "sm100_nvfp4",
                                    "sm100_mxfp4", "sm100_mxf8f6f4"})
      for (const AlignRounding rounding :
           {AlignRounding::toward_zero, AlignRounding::floor, AlignRounding::nearest_even})
        for (const ZeroRule rule : {ZeroRule::zero_products, ZeroRule::zero_sum, ZeroRule::never})
          for (const bool flag : {false, true}) {
            Accumulation acc = *find_accumulation(model);
            acc.align_rounding = rounding, acc.zero_rule = rule, acc.minus_zero = flag;
            acc.c_in_sum = acc.c_in_sum != flag;
            acc.fraction_bits += flag ? 2 : -1;
            if (flag && acc.align == Align::group) acc.align = Align::product, acc.group = 1;
            check_agrees(acc, 4, ++seed, where);
          }
  }
}

TEST_CASE_TEMPLATE("gpu mma: FP64 is a chain of FMAs", Place, OnHost, OnDevice) {
  std::mt19937_64 random(3);
  Codes a(300), b(300), c(100);
  for (Codes* codes : {&a, &b, &c})
    for (std::uint64_t& code : *codes)
      code = random() % 3 ? random() : (random() >> 12) | (1000 + random() % 50) << 52;
  MmaOperands x{.tiles = 100, .k = 3};
  x.a = a, x.b = b, x.c = c;
  const Accumulation& acc = *find_accumulation("sm80_fp64");
  for (const Where where : places<Place>())
    for (const bool every_step : {false, true})
      CHECK(gpu_mma(x, acc, every_step, where) == reference_kernels().mma(x, acc, every_step));
}

TEST_CASE_TEMPLATE("gpu mma: a flag decides whether a sum of -0 alone is -0", Place, OnHost, OnDevice) {
  for (const Where where : places<Place>())
    for (const char* name : {"sm90_bf16", "sm90_fp8_mma", "sm100_nvfp4", "sm100_mxf8f6f4"})
      for (const bool flag : {false, true})
        for (const std::uint32_t c : {0u, 0x80000000u, 1u})
          for (const std::uint64_t zeros : {0, 1, 8}) {
            Accumulation acc = *find_accumulation(name);
            acc.minus_zero = flag;
            const Format format = elements_of(acc)[0];
            const std::uint64_t minus_zero = std::uint64_t{1} << (info(format).bits - 1);
            const auto k = static_cast<std::size_t>(acc.k);
            Codes a(k, minus_zero), b(k, code_of(1.5f, format));
            if (zeros) a[k - static_cast<std::size_t>(zeros)] = 0;
            const std::vector<std::uint8_t> scales(acc.scale ? k / static_cast<std::size_t>(acc.block) : 0,
                                                   0x40);
            MmaOperands x{
                .k = acc.k, .a_format = format, .b_format = format, .scale = acc.scale, .block = acc.block};
            const Codes start{c};
            x.a = a, x.b = b, x.c = start, x.a_scales = x.b_scales = scales;
            CAPTURE(name);
            CAPTURE(c);
            CHECK(gpu_mma(x, acc, false, where) == reference_kernels().mma(x, acc, false));
          }
}

TEST_CASE_TEMPLATE("gpu mma: of no products C remains", Place, OnHost, OnDevice) {
  const Codes c{0x3F800001, 0x80000000, 0x7FC12345};
  for (const Where where : places<Place>())
    for (const char* name : {"sm100_nvfp4", "sm90_bf16", "exact"}) {
      const Accumulation& acc = *find_accumulation(name);
      MmaOperands x{.tiles = 3, .k = 0, .scale = acc.scale, .block = acc.block};
      x.a_format = x.b_format = elements_of(acc)[0];
      x.c = c;
      for (const bool every_step : {false, true})
        CHECK(gpu_mma(x, acc, every_step, where) == reference_kernels().mma(x, acc, every_step));
    }
}

TEST_CASE_TEMPLATE("gpu multiply: every model and block shape and K of any length", Place, OnHost, OnDevice) {
  const auto mxfp4 = default_spec(*find_dialect("mxfp4_ceil")),
             mxfp8 = default_spec(*find_dialect("mxfp8_ceil"));
  for (const Where where : places<Place>())
    for (const std::int64_t k : {1, 16, 63, 200, 1000}) {
      const auto agree = [&](const QuantizeSpec& spec, std::initializer_list<const char*> models) {
        const auto quantized = [&](std::int64_t rows, unsigned seed) {
          const Matrix x = scattered::blocks(rows, k, seed, 20, scattered::From::up);
          return cpu_kernels().quantize(x.view(), spec, {});
        };
        BlockScaledTensor a = quantized(5, 1), b = quantized(19, 2);
        a.scales.back() = 0xFF;  // NaN
        for (const char* model : models) {
          CAPTURE(model);
          CAPTURE(k);
          const Accumulation& acc = *find_accumulation(model);
          CHECK(same(gpu_multiply(a, b, acc, where), cpu_kernels().multiply(a, b, acc, {})));
        }
      };
      agree({}, {"sm100_nvfp4", "sm103_nvfp4_k96", "sm100_nvfp4_chunk64", "exact", "fp32_in_order"});
      agree({.block = {16, 16}}, {"sm100_nvfp4", "exact"});
      agree(mxfp4, {"sm100_mxfp4", "exact", "fp32_in_order"});
      agree(mxfp8, {"sm100_mxf8f6f4", "exact", "fp32_in_order"});
    }
}

TEST_CASE_TEMPLATE("gpu multiply_dense: every element format and dtype, and what is none of it", Place,
                   OnHost, OnDevice) {
  for (const Where where : places<Place>()) {
    const auto agree = [&](Dtype dtype, const scattered::Numbers& numbers,
                           std::initializer_list<const char*> models) {
      const Matrix all = scattered::matrix(23, 50, dtype, numbers);
      const MatrixView a{all.bytes.data(), 5, 50, dtype},
          b{all.bytes.data() + 5 * 50 * size_of(dtype), 18, 50, dtype};
      for (const std::string model : models) {
        CAPTURE(model);
        const Accumulation& acc = *find_accumulation(model);
        CHECK(same(gpu_multiply_dense(a, b, acc, where), reference_kernels().multiply_dense(a, b, acc)));
        if (!acc.has_fp16) continue;
        const Accumulation fp16 = fp16_accumulator(acc);
        CHECK(same(gpu_multiply_dense(a, b, fp16, where), reference_kernels().multiply_dense(a, b, fp16)));
      }
    };
    for (const std::uint32_t special : {0u, 200u}) {
      agree(Dtype::bf16, {100, 60, special},
            {"sm80_bf16", "sm90_bf16", "sm100_bf16", "exact", "fp32_in_order"});
      agree(Dtype::bf16, {0, 255, special}, {"sm90_bf16", "sm100_tf32", "exact", "fp32_in_order"});
      agree(Dtype::fp16, {0, 31, special},
            {"sm70_fp16", "sm75_fp16", "sm80_fp16", "sm90_fp16", "sm100_tf32", "exact", "fp32_in_order"});
      agree(Dtype::fp32, {0, 255, special}, {"exact", "fp32_in_order"});
      agree(Dtype::fp32, {110, 30, special}, {"exact", "fp32_in_order"});
    }
    Matrix third(1, 4);
    std::fill_n(third.f32(), 4, 1.f);
    CHECK(Dense(third.view(), Format::bf16, where).strangers.values()[0] == 0);
    third.f32()[2] = 1.f / 3;
    CHECK(Dense(third.view(), Format::bf16, where).strangers.values()[0] == 1);
  }
}

TEST_CASE("gpu mma: refusals") {
  const gpu::MatrixProduct x{.a = {.format = Format::e4m3}, .b = {.format = Format::e4m3}, .k = 64};
  CHECK_THROWS_AS(gpu::chain_of(x, *find_accumulation("sm100_nvfp4")), std::invalid_argument);
  CHECK_THROWS_AS(gpu::chain_of(x, *find_accumulation("sm80_fp64")), std::invalid_argument);
  CHECK_THROWS_AS(gpu::multiply(x, *find_accumulation("sm80_fp64"), nullptr, nullptr), std::invalid_argument);
}
