#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <nvfp4/nvfp4.hpp>

using namespace nvfp4;

/// The reference against facts that are stated in the producers' documents and sources. Its equality with
/// the other layers is kernels_test.cpp's.
namespace {

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
const QuantizeSpec te{.dialect = &dialects::te::info};
const QuantizeSpec te_ref{.dialect = &dialects::te_ref::info};
const QuantizeSpec paper{.dialect = &dialects::paper::info};

struct Row {
  std::vector<int> scales, codes;
  friend bool operator==(const Row&, const Row&) = default;
};

BlockScaledTensor quantized(const std::vector<float>& x, const QuantizeSpec& spec, std::int64_t rows = 1) {
  const MatrixView view{x.data(), rows, static_cast<std::int64_t>(x.size()) / rows, Dtype::fp32};
  return reference_kernels().quantize(view, spec, {});
}

int code(const BlockScaledTensor& t, std::int64_t i, std::int64_t j) {
  return t.codes[static_cast<std::size_t>(i * t.row_bytes() + j / 2)] >> (j % 2 * 4) & 15;
}

/// One block of 16 that starts with `head` and goes on with zeros.
Row block(std::vector<float> head, QuantizeSpec spec, float amax) {
  head.resize(16);
  spec.amax = amax;
  const BlockScaledTensor t = quantized(head, spec);
  Row row{{t.scales[0]}, {}};
  for (int j = 0; j < 16; ++j) row.codes.push_back(code(t, 0, j));
  return row;
}

Row row_of(int scale, std::vector<int> head, int rest = 0) {
  head.resize(16, rest);
  return {{scale}, head};
}

}  // namespace

TEST_CASE("the E2M1 grid, its ties and its signs, at scale 1") {
  // amax 2688 makes the tensor's multiplier 1; a block amax of 6 then stores scale 1 (0x38).
  CHECK(
      block({6, 0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5, -0.25f, -0.75f, -5, 0.5f, -6, -0.f, 0.26f, -0.24f},
            te, 2688) == row_of(0x38, {7, 0, 2, 2, 4, 4, 6, 6, 8, 10, 14, 1, 15, 8, 1, 8}));
  CHECK(block({6, -0.25f, -0.f, -0.24f, -0.75f}, te_ref, 2688) == row_of(0x38, {7, 8, 0, 8, 10}));
}

TEST_CASE("a zero tensor has scale 0 and codes 0 where te keeps the sign of zero") {
  CHECK(block({0, -0.f}, te, 0) == row_of(0, {0, 8}));
  CHECK(block({0, -0.f}, te_ref, 0) == row_of(0, {0, 0}));
  CHECK(block({0, -0.f}, paper, 0) == row_of(0, {0, 8}));
}

TEST_CASE("a scale that underflows leaves saturated codes and zeros") {
  // 6 * 2^-10 is the tie between scale bytes 0 and 1: it goes to 0, and 1 / (0 * S_dec) becomes FLT_MAX.
  for (const QuantizeSpec& spec : {te, te_ref, paper}) {
    CHECK(block({6 * 0x1p-10f, -0x1p-20f, 0}, spec, 2688) == row_of(0, {7, 15, 0}));
    CHECK(block({std::nextafter(6 * 0x1p-10f, 1.f)}, spec, 2688) == row_of(1, {5}));
  }
}

TEST_CASE("a tiny tensor: 2688 / amax overflows to FLT_MAX, and the subnormal reciprocal is kept") {
  // The scale is amax * FLT_MAX / 6, about 397, so 384; elements meet 1 / (384 * 2^-128). Were S_dec, 2^-128,
  // flushed to zero, the second would saturate too.
  CHECK(block({7e-36f, 3.5e-36f}, te, 7e-36f) == row_of(0x7C, {7, 5}));
  CHECK(block({0x1p-149f}, te, 0x1p-149f) == row_of(0, {0}));  // 2^-149 * FLT_MAX is far below 0.25
}

TEST_CASE("NaN: te drops it from the maxima and codes it +6 where te_ref is poisoned and codes 0") {
  const std::vector<float> x = {1, not_a_number, -not_a_number, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const BlockScaledTensor kernel = quantized(x, te), ref = quantized(x, te_ref);
  CHECK(kernel.global[0] == 3);
  CHECK(kernel.scales[0] == 0x7E);
  CHECK(code(kernel, 0, 1) == 7);
  CHECK(code(kernel, 0, 2) == 7);
  CHECK(code(kernel, 0, 3) == 7);
  CHECK(std::isnan(ref.global[0]));
  CHECK(ref.scales[0] == 0x7F);
  for (int j = 0; j < 16; ++j) CHECK(code(ref, 0, j) == 0);
}

TEST_CASE("an infinity makes the tensor's multiplier 1 and its block's scale 448") {
  std::vector<float> x(32);
  x[0] = -inf;
  x[1] = 3;
  x[16] = 6;
  for (const QuantizeSpec& spec : {te, te_ref, paper}) {
    const BlockScaledTensor t = quantized(x, spec);
    CHECK(t.global[0] == inf);
    CHECK(t.scales == std::vector<std::uint8_t>{0x7E, 0x38});
    CHECK(code(t, 0, 0) == 15);
    CHECK(code(t, 0, 1) == 0);  // 3 / 448
    CHECK(code(t, 0, 16) == 7);
  }
}

TEST_CASE("the paper's order and te's part on BF16 data with amax 6, and not with amax 7") {
  const auto differing = [](float amax) {
    int count = 0;
    for (int bits = 0x3C00; bits < 0x40C0; ++bits) {  // BF16 block maxima from 2^-7 to 6
      const float value = std::bit_cast<float>(bits << 16);
      count += block({value}, te, amax).scales != block({value}, paper, amax).scales;
    }
    return count;
  };
  CHECK(differing(6) > 0);
  CHECK(differing(7) == 0);
}

TEST_CASE("16x16 codes and scales of W are those of its transpose, transposed") {
  const Matrix w = make_cases("random", Dtype::bf16, 3)[0].input;  // 64 x 256
  const QuantizeSpec tiles{.dialect = &dialects::te::info, .block = {16, 16}};
  const BlockScaledTensor a = reference_kernels().quantize(w.view(), tiles, {});
  const BlockScaledTensor b = reference_kernels().quantize(transpose(w.view()).view(), tiles, {});
  int differing = 0;
  for (std::int64_t i = 0; i < w.rows; ++i)
    for (std::int64_t j = 0; j < w.cols; ++j) {
      differing += code(a, i, j) != code(b, j, i);
      differing += a.scales[i * a.blocks_per_row() + j / 16] != b.scales[j * b.blocks_per_row() + i / 16];
    }
  CHECK(differing == 0);
}

TEST_CASE("row scales make every row a tensor of its own") {
  const Matrix x = make_cases("random", Dtype::fp32, 3)[1].input;
  const BlockScaledTensor all =
      reference_kernels().quantize(x.view(), {.tensor_scale = TensorScale::row}, {});
  for (std::int64_t i = 0; i < x.rows; ++i) {
    const BlockScaledTensor one =
        reference_kernels().quantize({x.f32() + i * x.cols, 1, x.cols, Dtype::fp32}, {}, {});
    CHECK(all.global[static_cast<std::size_t>(i)] == one.global[0]);
    CHECK(std::equal(one.codes.begin(), one.codes.end(), all.codes.begin() + i * all.row_bytes()));
    CHECK(std::equal(one.scales.begin(), one.scales.end(), all.scales.begin() + i * all.blocks_per_row()));
  }
}

TEST_CASE("ragged columns are padded with +0, and pad codes are 0 even under a NaN scale") {
  std::vector<float> x(20, 1.f);
  x[17] = not_a_number;
  for (const Dialect* dialect : all_dialects()) {
    const BlockScaledTensor t = quantized(x, default_spec(*dialect));
    const int bits = info(dialect->element).bits;
    CHECK(t.row_bytes() == 32 * bits / 8);
    CHECK(t.scales.size() == 32u / static_cast<unsigned>(dialect->block_cols));
    for (int j = 20 * bits / 8; j < t.row_bytes(); ++j) CHECK(t.codes[static_cast<std::size_t>(j)] == 0);
  }
}

TEST_CASE("each dialect dequantizes in its own order") {
  // One code 6 under scale 448 and amax 3.7: te multiplies by FP32(1/2688) last, te_ref divides the amax first.
  BlockScaledTensor t = quantized(std::vector<float>(16, 3.7f), te);
  const float kernel = reference_kernels().dequantize(t).f32()[0];
  CHECK(kernel == 6.f * ((448.f * 3.7f) * 0x1.861862p-12f));
  t.spec = te_ref;
  CHECK(reference_kernels().dequantize(t).f32()[0] == 6.f * (448.f * (3.7f / 2688.f)));
}
