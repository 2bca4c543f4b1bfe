#include <doctest/doctest.h>

#include <bit>
#include <stdexcept>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "src/isa/isa.hpp"
#include "tests/cpu_tables.hpp"
#include "tests/scattered.hpp"

using namespace nvfp4;

/// The quantized transform against the transform by the reference, quantized by the reference.
namespace {

constexpr Dtype every_dtype[] = {Dtype::fp32, Dtype::bf16, Dtype::fp16};

Hadamard along_tokens(HadamardSum sum) { return {.sum = sum, .along = Along::tokens}; }

BlockScaledTensor literal(const Matrix& x, const Hadamard& h, const QuantizeSpec& spec) {
  const Matrix y = reference_kernels().hadamard(x.view(), h);
  return reference_kernels().quantize(h.along == Along::row ? y.view() : transpose(y.view()).view(), spec,
                                      {});
}

void check(const Kernels& kernels, const BlockScaledTensor& expected, const Matrix& x, const Hadamard& h,
           const QuantizeSpec& spec) {
  CAPTURE(kernels.name);
  CAPTURE(spec.dialect->name);
  CAPTURE(name(x.dtype));
  CAPTURE(static_cast<int>(h.sum));
  CAPTURE(h.size);
  BlockScaledTensor reuse;
  reuse.codes.assign(99, 0xFF), reuse.scales.assign(99, 0xFF), reuse.global.assign(3, 1);
  const Difference d = compare(expected, kernels.quantize_transformed(x.view(), h, spec, std::move(reuse)));
  CHECK_MESSAGE(d.equal(), describe(*d.first));
}

void check_layers(const Matrix& x, const Hadamard& h, const QuantizeSpec& spec) {
  const BlockScaledTensor expected = literal(x, h, spec);
  for (const Kernels* kernels : cpu_tables()) check(*kernels, expected, x, h, spec);
}

/// Spans that are always exact, never, and either; zeros; both ends of BF16 and of the numbers whose sums are taken for
/// exact; Inf and NaN.
constexpr scattered::Numbers every_bf16[] = {{120, 13},     {118, 14},       {100, 40}, {120, 12, 3, true},
                                             {1, 12},       {0, 3, 4, true}, {26, 12},  {31, 3, 3, true},
                                             {216, 12},     {230, 25},       {240, 12}, {0, 1},
                                             {120, 12, 60}, {115, 30, 500},  {251, 3}};

}  // namespace

TEST_CASE("quantize_transformed: the reference, of every kind of number") {
  for (const scattered::Numbers& n : every_bf16)
    for (const HadamardSum sum : {HadamardSum::tensor_core, HadamardSum::fma_chain}) {
      CAPTURE(n.least);
      CAPTURE(n.exponents);
      const Matrix x = scattered::matrix(48, 21, Dtype::bf16, n);
      for (const Dialect* d : {&dialects::te::info, &dialects::te_rht_fused::info, &dialects::te_ref::info})
        check_layers(x, along_tokens(sum), default_spec(*d));
    }
}

TEST_CASE("quantize_transformed: the reference by every dialect and element type" *
          doctest::test_suite("sweep")) {
  for (const Dialect* dialect : all_dialects())
    for (const Dtype dtype : every_dtype) {
      const bool half = dtype == Dtype::fp16;
      const Matrix x = scattered::matrix(48, 11, dtype, {half ? 9u : 120u, 12});
      check_layers(x, along_tokens(hadamard_sum(*dialect, dtype)), default_spec(*dialect));
    }
}

TEST_CASE("quantize_transformed: the reference of other transforms and specs" *
          doctest::test_suite("sweep")) {
  const Matrix x = scattered::matrix(64, 64, Dtype::bf16, {120, 14});
  for (const Along along : {Along::row, Along::tokens})
    for (const Hadamard& h : {Hadamard{.sum = HadamardSum::tensor_core, .along = along},
                              Hadamard{.signs = Signs::none, .along = along},
                              Hadamard{.signs = Signs::seed, .along = along, .seed = 3},
                              Hadamard{.sum = HadamardSum::exact, .along = along},
                              Hadamard{.sum = HadamardSum::tensor_core, .rounded = false, .along = along},
                              Hadamard{.signs = Signs::none, .size = 32, .along = along}})
      for (const QuantizeSpec& spec :
           {QuantizeSpec{}, QuantizeSpec{.amax = 1e-3f}, QuantizeSpec{.block = {16, 16}},
            QuantizeSpec{.tensor_scale = TensorScale::row}})
        check_layers(x, h, spec);
  check(reference_kernels(), literal(x, {}, {}), x, {}, {});
}

/// 1024 rows and 512 columns are a task: more of both, and neither whole.
TEST_CASE("quantize_transformed: no thread count and no cut into tasks shows") {
  const int before = threads();
  for (const scattered::Numbers& n : {scattered::Numbers{120, 11}, scattered::Numbers{116, 16}}) {
    const Matrix x = scattered::matrix(1168, 587, Dtype::bf16, n);
    const Hadamard h = along_tokens(HadamardSum::tensor_core);
    const Matrix y = cpu_kernels().hadamard(x.view(), h);
    const BlockScaledTensor expected = cpu_kernels().quantize(transpose(y.view()).view(), {}, {});
    for (const int count : {1, 2, 7}) {
      set_threads(count);
      for (const Kernels* kernels : cpu_tables()) check(*kernels, expected, x, h, {});
    }
  }
  set_threads(before);
}

namespace {

/// Fifteen numbers `span` binades above one more, all bits set: in units of the smallest's last bit their sum is
/// 255 (15 2^span + 1), odd, which has 24 bits at 12 and 25 at 13, where truncation and rounding part.
Matrix fifteen_above(int span, int smallest) {
  Matrix x(16, 64, Dtype::bf16);
  for (int i = 0; i < 16 * 64; ++i)
    x.u16()[i] = static_cast<std::uint16_t>((i / 64 == smallest ? 120 : 120 + span) << 7 | 0x7F);
  return x;
}

}  // namespace

TEST_CASE("quantize_transformed: sums of 24 bits and of 25") {
  for (const int span : {11, 12, 13, 14})
    for (const int smallest : {0, 5, 15}) {
      CAPTURE(span);
      CAPTURE(smallest);
      const Matrix x = fifteen_above(span, smallest);
      for (const HadamardSum sum : {HadamardSum::tensor_core, HadamardSum::fma_chain}) {
        const Hadamard h{.signs = Signs::none, .sum = sum, .rounded = false, .along = Along::tokens};
        const Matrix expected = reference_kernels().hadamard(x.view(), h);
        for (const Kernels* kernels : cpu_tables())
          CHECK((expected.bytes == kernels->hadamard(x.view(), h).bytes));
      }
    }
}

TEST_CASE("quantize_transformed: 24 bits are taken for exact, 25 are not") {
  float entries[16][16];
  for (int k = 0; k < 16; ++k)
    for (int j = 0; j < 16; ++j)
      entries[k][j] = __builtin_popcount(static_cast<unsigned>(k & j)) % 2 ? -0.25f : 0.25f;
  for (const isa::Table* isa : {isa::portable(), isa::avx2(), isa::avx512()})
    for (const int span : {12, 13}) {
      if (!isa) continue;
      const Matrix x = fifteen_above(span, 3);
      std::uint16_t exact = 0;
      float amax = 0;
      CHECK(isa->transformed_amax[1]({x.view().data, 64, 64, {entries, false, &exact, 1}}, amax));
      CHECK((exact != 0) == (span == 12));
    }
}

TEST_CASE("quantize_transformed: refuses what its parts refuse") {
  for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()}) {
    const Hadamard h = along_tokens(HadamardSum::tensor_core);
    CHECK_THROWS_AS(kernels->quantize_transformed(Matrix(20, 16).view(), h, {}, {}), std::invalid_argument);
    CHECK_THROWS_AS(kernels->quantize_transformed(Matrix(16, 16).view(), h, {.block = {16, 32}}, {}),
                    std::invalid_argument);
  }
}
