#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <stdexcept>
#include <vector>

#include <nvfp4/nvfp4.hpp>

using namespace nvfp4;

/// The transform by formula and by every layer. The producer's own columns are in golden_test.cpp (te_ref_1d_rht).
namespace {

/// A group of 16 numbers as a BF16 row; they must be BF16 numbers.
Matrix bf16_row(const std::vector<float>& values) {
  Matrix x(1, 16, Dtype::bf16);
  for (std::size_t i = 0; i < values.size(); ++i)
    x.u16()[i] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(values[i]) >> 16);
  return x;
}

float bf16(std::uint16_t code) { return std::bit_cast<float>(std::uint32_t{code} << 16); }

constexpr Hadamard every_kind[] = {{Signs::none, HadamardSum::fma_chain},
                                   {Signs::te, HadamardSum::fma_chain},
                                   {Signs::none, HadamardSum::tensor_core},
                                   {Signs::te, HadamardSum::tensor_core},
                                   {Signs::te, HadamardSum::tensor_core, false}};

/// The first output of a tensor-core sum without signs: (x0 + ... + x15) / 4.
float first_sum(const std::vector<float>& values) {
  const Matrix y =
      reference_kernels().hadamard(bf16_row(values).view(), {Signs::none, HadamardSum::tensor_core});
  return bf16(y.u16()[0]);
}

}  // namespace

TEST_CASE("hadamard: every layer as the reference on every case and element type" *
          doctest::test_suite("sweep")) {
  for (const Dtype dtype : {Dtype::fp32, Dtype::bf16, Dtype::fp16})
    for (const std::string_view pack : case_packs())
      for (const Case& c : make_cases(pack, dtype, 3)) {
        if (c.input.cols % 16) continue;
        for (const Hadamard& h : every_kind) {
          CAPTURE(c.name);
          CAPTURE(name(dtype));
          const Matrix expected = reference_kernels().hadamard(c.input.view(), h);
          const Difference d =
              compare(expected.view(), cpu_kernels().hadamard(c.input.view(), h).view(), "transformed");
          CHECK_MESSAGE(d.equal(), describe(*d.first));
        }
      }
}

TEST_CASE("hadamard: a sum that is kept is the one that was rounded") {
  const Case c = make_cases("random", Dtype::bf16, 3)[0];
  const Matrix sums = cpu_kernels().hadamard(c.input.view(), {Signs::te, HadamardSum::tensor_core, false});
  const Matrix rounded = cpu_kernels().hadamard(c.input.view(), {Signs::te, HadamardSum::tensor_core});
  REQUIRE(sums.dtype == Dtype::fp32);
  int moved = 0;
  for (std::int64_t i = 0; i < sums.rows * sums.cols; ++i) {
    std::uint32_t code;
    reference_kernels().encode({sums.f32() + i, 1}, {.format = Format::bf16}, {&code, 1});
    CHECK(code == rounded.u16()[i]);
    moved += bf16(rounded.u16()[i]) != sums.f32()[i];
  }
  CHECK(moved > 0);
}

TEST_CASE("hadamard: te's fused fast math quantizes the unrounded sums under the amax of the rounded") {
  const Dialect& dialect = dialects::te_rht_fused_fast_math::info;
  const Producer producer{.name = "", .spec = default_spec(dialect), .rht = true};
  const Case c = make_cases("random", Dtype::bf16, 3)[0];
  const Matrix sums = cpu_kernels().hadamard(c.input.view(), {Signs::te, HadamardSum::tensor_core, false});
  const Matrix rounded = cpu_kernels().hadamard(c.input.view(), {Signs::te, HadamardSum::tensor_core});
  QuantizeSpec spec = default_spec(dialect);
  spec.amax = reference_kernels().amax(rounded.view(), dialect);
  for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()}) {
    const BlockScaledTensor made = quantize(producer, c.input.view(), *kernels).rows;
    CHECK(compare(reference_kernels().quantize(sums.view(), spec, {}), made).equal());
    CHECK_FALSE(compare(reference_kernels().quantize(rounded.view(), spec, {}), made).equal());
  }
}

TEST_CASE("hadamard: a unit vector gives its row of the matrix, with its sign") {
  for (int k = 0; k < 16; ++k) {
    std::vector<float> unit(16);
    unit[static_cast<std::size_t>(k)] = 1;
    for (const Hadamard& h : every_kind) {
      const Matrix y = reference_kernels().hadamard(bf16_row(unit).view(), h);
      if (!h.rounded) continue;
      for (int j = 0; j < 16; ++j) {
        const bool sign = h.signs == Signs::te && (0xD7E8 >> k & 1);
        const bool odd = __builtin_popcount(static_cast<unsigned>(k & j)) % 2 == 1;
        CHECK(bf16(y.u16()[j]) == (sign != odd ? -0.25f : 0.25f));
      }
    }
  }
}

TEST_CASE("hadamard: twice without signs is the identity where nothing rounds") {
  Matrix x(4, 32);
  for (int i = 0; i < 128; ++i) x.f32()[i] = static_cast<float>(i * 37 % 101 - 50);
  for (const HadamardSum sum : {HadamardSum::fma_chain, HadamardSum::tensor_core}) {
    const Matrix once = cpu_kernels().hadamard(x.view(), {Signs::none, sum});
    CHECK(compare(x.view(), cpu_kernels().hadamard(once.view(), {Signs::none, sum}).view(), "x").equal());
  }
}

/// 2^24 + 2^-1 - 2^24: the middle term lies 25 bits below the largest and is kept; at 26 bits it is cut, although the
/// exact sum has it. Another count of fraction bits moves one of the two.
TEST_CASE("hadamard: the tensor core keeps 25 bits below the largest exponent, and truncates") {
  CHECK(first_sum({0x1p24f, 0x1p-1f, -0x1p24f}) == 0x1p-3f);
  CHECK(first_sum({0x1p24f, 0x1p-2f, -0x1p24f}) == 0);
  CHECK(first_sum({0x1p24f, -0x1.8p-1f, -0x1p24f}) == -0x1p-3f);  // the magnitude is cut, not its floor taken
}

TEST_CASE("hadamard: NaN, infinities and shapes") {
  for (const Kernels* kernels : {&reference_kernels(), &cpu_kernels()}) {
    const Matrix y =
        kernels->hadamard(bf16_row({INFINITY, -INFINITY}).view(), {.sum = HadamardSum::tensor_core});
    for (int j = 0; j < 16; ++j) CHECK((y.u16()[j] == 0x7FC0 || std::isinf(bf16(y.u16()[j]))));
    CHECK_THROWS_AS(kernels->hadamard(Matrix(2, 20).view(), {}), std::invalid_argument);
  }
}
