#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "gpu/amax.hpp"
#include "gpu/dequantize_rows.hpp"
#include "gpu/quantize_both.hpp"
#include "gpu/quantize_rows.hpp"
#include "tests/gpu_memory.hpp"

using namespace nvfp4;

/// The fast quantizers of gpu/ against the CPU layer, byte for byte.
namespace {

using gpu_layer::is_missing;
using gpu_memory::Buffer;
using gpu_memory::Where;

constexpr Dtype every_dtype[] = {Dtype::fp32, Dtype::bf16, Dtype::fp16};
constexpr Hadamard transform{.sum = HadamardSum::tensor_core, .along = Along::tokens};

/// Kinds of data: 0 normal; 1 rows and blocks over 20 binades, zero rows and columns; 2 and 3 the same times 2^-60 and
/// 2^100 (in FP16 2^-10 and 2^8); 4 sprinkled with NaN, Inf, -0 and subnormals; 5 all zeros of both signs; 6 large
/// ones beside the smallest, whose block scales are 0.
constexpr int kinds = 7;

float number(int kind, std::int64_t row, std::int64_t col, Dtype dtype, std::mt19937& random) {
  std::normal_distribution<float> normal;
  const float x = normal(random);
  if (kind == 0) return x;
  if (kind == 5) return random() % 2 ? 0.f : -0.f;
  if (kind == 6) return random() % 64 ? x * 0x1p-14f : x * 1000;
  if (row % 7 == 3 || col % 11 == 5) return random() % 2 ? 0.f : -0.f;
  const float spread =
      std::ldexp(x, static_cast<int>(row * 5 % 21) - 10 + static_cast<int>(col / 16 * 3 % 9) - 4);
  const bool half = dtype == Dtype::fp16;
  if (kind == 2) return std::ldexp(spread, half ? -10 : -60);
  if (kind == 3) return std::ldexp(spread, half ? 3 : 100);
  if (kind == 4) {
    constexpr float special[] = {NAN, -NAN, INFINITY, -INFINITY, -0.f, 0x1p-140f, -0x1p-130f, 0x1p-24f};
    const unsigned which = random() % 400;
    if (which < 8) return special[(which == 2 || which == 3) && random() % 4 ? 4 : which];
  }
  return spread;
}

Matrix data(int kind, std::int64_t rows, std::int64_t cols, Dtype dtype) {
  std::mt19937 random(static_cast<unsigned>(kind * 1000 + rows * 31 + cols));
  Matrix x(rows, cols);
  for (std::int64_t i = 0; i < rows * cols; ++i) x.f32()[i] = number(kind, i / cols, i % cols, dtype, random);
  return dtype == Dtype::fp32 ? x : converted(x.view(), dtype, cpu_kernels());
}

struct Shape {
  std::int64_t rows, cols;
};
constexpr Shape shapes[] = {{1, 1},  {1, 15},   {3, 17},    {16, 16},    {17, 40},    {128, 128},
                            {80, 8}, {272, 48}, {129, 513}, {300, 1000}, {1024, 768}, {2000, 2056}};

struct DeviceMatrix {
  Buffer<std::byte> bytes;
  MatrixView shape;
  explicit DeviceMatrix(const Matrix& x) : bytes(Where::device, x.bytes), shape(x.view()) {}
  MatrixView view() { return {bytes.data(), shape.rows, shape.cols, shape.dtype}; }
};

/// Room for a tensor of rows x cols, filled with what no quantizer writes everywhere.
struct Parts {
  std::int64_t rows, cols;
  ScaleLayout layout;
  Buffer<std::uint8_t> codes, scales;
  Buffer<float> global;
  Parts(std::int64_t rows, std::int64_t cols, ScaleLayout layout, bool per_row)
      : rows(rows),
        cols(cols),
        layout(layout),
        codes(Where::device, filled(rows * ((cols + 15) / 16 * 8))),
        scales(Where::device, filled(padded(layout, rows, (cols + 15) / 16).rows *
                                     padded(layout, rows, (cols + 15) / 16).cols)),
        global(Where::device, static_cast<std::size_t>(per_row ? rows : 1)) {}
  static std::vector<std::uint8_t> filled(std::int64_t size) {
    return std::vector<std::uint8_t>(static_cast<std::size_t>(size), 0xA5);
  }
  gpu::TensorParts parts() { return {codes.data(), scales.data(), global.data()}; }

  static void check(const std::vector<std::uint8_t>& actual, const std::vector<std::uint8_t>& expected,
                    const char* what) {
    REQUIRE(actual.size() == expected.size());
    const auto at = static_cast<std::size_t>(std::ranges::mismatch(actual, expected).in1 - actual.begin());
    CHECK_MESSAGE(at == actual.size(),
                  what << " " << at << ": " << +actual[at] << ", expected " << +expected[at]);
  }

  void check(const BlockScaledTensor& expected) {
    check(codes.values(), expected.codes, "code byte");
    check(scales.values(), to_layout(layout, expected.scales, rows, (cols + 15) / 16), "scale");
    CHECK(std::memcmp(global.values().data(), expected.global.data(), 4 * expected.global.size()) == 0);
  }
};

QuantizeSpec spec_of(const Dialect& dialect, BlockShape block = {}) {
  QuantizeSpec spec = default_spec(dialect);
  spec.block = block;
  return spec;
}

void check_rows(const Matrix& x, const QuantizeSpec& spec, ScaleLayout layout) {
  const bool per_row = spec.tensor_scale == TensorScale::row;
  DeviceMatrix device(x);
  Buffer<float> amax(Where::device, static_cast<std::size_t>(per_row ? x.rows : 1));
  per_row ? gpu::row_amaxes(device.view(), amax.data(), nullptr)
          : gpu::tensor_amax(device.view(), amax.data(), nullptr);
  Parts out(x.rows, x.cols, layout, per_row);
  QuantizeSpec own = spec;
  std::vector<std::uint32_t> none(1);
  Buffer<std::uint32_t> words(Where::device, spec.stochastic && spec.stochastic->from_caller
                                                 ? spec.stochastic->words
                                                 : std::span<const std::uint32_t>(none));
  if (spec.stochastic && spec.stochastic->from_caller)
    own.stochastic->words = {words.data(), spec.stochastic->words.size()};
  gpu::quantize_rows(device.view(), own, amax.data(), out.parts(), layout, nullptr);
  out.check(cpu_kernels().quantize(x.view(), spec, {}));
}

void check_both(const Matrix& x, const QuantizeSpec& rows, const QuantizeSpec& columns, ScaleLayout layout,
                bool transformed) {
  DeviceMatrix device(x);
  Buffer<float> amax(Where::device, 2);
  if (transformed)
    gpu::transformed_amax(device.view(), te_sign_mask, amax.data(), amax.data() + 1, nullptr);
  else
    gpu::tensor_amax(device.view(), amax.data(), nullptr);
  Parts row(x.rows, x.cols, layout, false), column(x.cols, x.rows, layout, false);
  gpu::quantize_both(device.view(), {rows, amax.data(), row.parts()},
                     {columns, amax.data() + (transformed ? 1 : 0), column.parts()}, layout,
                     transformed ? std::optional(te_sign_mask) : std::nullopt, nullptr);
  row.check(cpu_kernels().quantize(x.view(), rows, {}));
  column.check(transformed ? cpu_kernels().quantize_transformed(x.view(), transform, columns, {})
                           : cpu_kernels().quantize_transposed(x.view(), columns, {}));
}

std::vector<Stochastic> every_stochastic() {
  return {{.rule = SrRule::carry,
           .map = ByteMap::hw,
           .random = {.seed = 0x123456789ABCDEF, .stream = 5, .rounds = 10}},
          {.rule = SrRule::carry,
           .map = ByteMap::te,
           .random = {.seed = 7, .stream = 1ull << 40, .rounds = 7, .row = 100, .col = 32}},
          {.rule = SrRule::te_software, .map = ByteMap::te, .random = {.seed = 9, .rounds = 10}},
          {.rule = SrRule::te_software, .map = ByteMap::hw, .random = {.seed = 11, .rounds = 7}}};
}

template <class Body>
void each_input(Body body) {
  for (const Shape& shape : shapes)
    for (int kind = 0; kind < kinds; ++kind)
      for (const Dtype dtype : every_dtype) {
        if (shape.rows * shape.cols > 500000 && kind != 1 && kind != 4) continue;
        CAPTURE(shape.rows);
        CAPTURE(shape.cols);
        CAPTURE(kind);
        CAPTURE(name(dtype));
        body(data(kind, shape.rows, shape.cols, dtype));
      }
}

}  // namespace

TEST_CASE("the fast amax: the CPU layer's, of tensors and of rows") {
  if (is_missing()) return;
  each_input([](const Matrix& x) {
    DeviceMatrix device(x);
    Buffer<float> amax(Where::device, 1), rows(Where::device, static_cast<std::size_t>(x.rows));
    gpu::tensor_amax(device.view(), amax.data(), nullptr);
    gpu::row_amaxes(device.view(), rows.data(), nullptr);
    CHECK(amax.values()[0] == cpu_kernels().amax(x.view(), dialects::te::info));
    const auto row_bytes = static_cast<std::size_t>(x.cols) * size_of(x.dtype);
    for (std::int64_t i = 0; i < x.rows; ++i)
      REQUIRE(
          rows.values()[static_cast<std::size_t>(i)] ==
          cpu_kernels().amax({x.bytes.data() + static_cast<std::size_t>(i) * row_bytes, 1, x.cols, x.dtype},
                             dialects::te::info));
  });
}

TEST_CASE("quantize_rows: the CPU layer, of every dialect that it has") {
  if (is_missing()) return;
  each_input([](const Matrix& x) {
    for (const Dialect* dialect : all_dialects())
      for (const BlockShape block : {BlockShape{1, 16}, BlockShape{16, 16}}) {
        const QuantizeSpec spec = spec_of(*dialect, block);
        if (!gpu::has_quantize_rows(spec) || (dialect->per_row && block.rows != 1)) continue;
        CAPTURE(dialect->name);
        CAPTURE(block.rows);
        check_rows(x, spec, block.rows == 1 ? ScaleLayout::linear : ScaleLayout::tiled_128x4);
        if (block.rows == 1) check_rows(x, spec, ScaleLayout::tiled_128x4);
      }
  });
}

TEST_CASE("quantize_rows: a given amax, and four-over-six's options") {
  if (is_missing()) return;
  const Matrix x = data(1, 200, 144, Dtype::bf16);
  for (const FourOverSix options :
       {FourOverSix{256, Select::mse, false}, FourOverSix{448, Select::mae, true}}) {
    QuantizeSpec spec = spec_of(dialects::te_4over6::info);
    spec.four_over_six = options;
    check_rows(x, spec, ScaleLayout::linear);
  }
  for (const float amax : {0.f, 1e-37f, 3.f, 1e30f, INFINITY})
    for (const Dialect* dialect : {&dialects::te::info, &dialects::te_rht_fused::info,
                                   &dialects::flashinfer::info, &dialects::vllm::info}) {
      QuantizeSpec spec = spec_of(*dialect);
      spec.amax = amax;
      DeviceMatrix device(x);
      Buffer<float> given(Where::device, std::vector<float>{amax});
      Parts out(x.rows, x.cols, ScaleLayout::linear, false);
      gpu::quantize_rows(device.view(), spec, given.data(), out.parts(), ScaleLayout::linear, nullptr);
      CAPTURE(amax);
      CAPTURE(dialect->name);
      out.check(cpu_kernels().quantize(x.view(), spec, {}));
    }
}

TEST_CASE("quantize_rows: stochastic rounding, by position and by the caller's words") {
  if (is_missing()) return;
  each_input([](const Matrix& x) {
    for (const Dialect* dialect : {&dialects::te::info, &dialects::te_rht_fused::info}) {
      QuantizeSpec spec = spec_of(*dialect);
      for (const Stochastic& s : every_stochastic()) {
        spec.stochastic = s;
        check_rows(x, spec, ScaleLayout::linear);
      }
      std::vector<std::uint32_t> words(static_cast<std::size_t>(x.rows * ((x.cols + 15) / 16 * 4)));
      std::mt19937 random(3);
      for (std::uint32_t& word : words) word = static_cast<std::uint32_t>(random());
      spec.stochastic->from_caller = true;
      spec.stochastic->words = words;
      check_rows(x, spec, ScaleLayout::linear);
    }
  });
}

TEST_CASE("quantize_both: the CPU layer, rows and columns") {
  if (is_missing()) return;
  each_input([](const Matrix& x) {
    for (const Dialect* dialect :
         {&dialects::te::info, &dialects::te_rht_fused::info, &dialects::te_4over6::info})
      for (const BlockShape block : {BlockShape{1, 16}, BlockShape{16, 16}}) {
        if (dialect->four_over_six && block.rows == 16) continue;
        CAPTURE(dialect->name);
        CAPTURE(block.rows);
        check_both(x, spec_of(*dialect, block), spec_of(*dialect, block), ScaleLayout::linear, false);
        check_both(x, spec_of(*dialect, block), spec_of(*dialect, block), ScaleLayout::tiled_128x4, false);
      }
  });
}

TEST_CASE("quantize_both: with a transform and with stochastic rounding") {
  if (is_missing()) return;
  each_input([](const Matrix& x) {
    for (const Dialect* dialect : {&dialects::te::info, &dialects::te_rht_fused::info})
      for (const bool transformed : {false, true}) {
        if (transformed && (x.dtype != Dtype::bf16 || x.rows % 16)) continue;
        CAPTURE(dialect->name);
        CAPTURE(transformed);
        QuantizeSpec rows = spec_of(*dialect), columns = rows;
        if (transformed) check_both(x, rows, columns, ScaleLayout::linear, true);
        for (const Stochastic& s : every_stochastic()) {
          rows.stochastic = columns.stochastic = s;
          columns.stochastic->random.stream += 1;
          check_both(x, rows, columns, ScaleLayout::tiled_128x4, transformed);
        }
      }
  });
}

// For compute-sanitizer, which takes too long over the cases above.
TEST_CASE("the fast quantizers: every kernel on a small matrix") {
  if (is_missing()) return;
  for (const Shape& shape : {Shape{144, 80}, Shape{133, 72}, Shape{20, 21}})
    for (const Dtype dtype : every_dtype) {
      CAPTURE(shape.rows);
      CAPTURE(name(dtype));
      const Matrix x = data(4, shape.rows, shape.cols, dtype);
      for (const ScaleLayout layout : {ScaleLayout::linear, ScaleLayout::tiled_128x4}) {
        for (const Dialect* dialect : all_dialects())
          for (const BlockShape block : {BlockShape{1, 16}, BlockShape{16, 16}})
            if (gpu::has_quantize_rows(spec_of(*dialect, block)) && !(dialect->per_row && block.rows != 1))
              check_rows(x, spec_of(*dialect, block), layout);
        QuantizeSpec spec = spec_of(dialects::te_4over6::info);
        check_both(x, spec, spec, layout, false);
        for (const Dialect* dialect : {&dialects::te::info, &dialects::te_rht_fused::info})
          for (const bool transformed : {false, true}) {
            if (transformed && (dtype != Dtype::bf16 || x.rows % 16)) continue;
            spec = spec_of(*dialect);
            check_both(x, spec, spec, layout, transformed);
            for (const Stochastic& s : every_stochastic()) {
              spec.stochastic = s;
              check_both(x, spec, spec, layout, transformed);
              if (!transformed) check_rows(x, spec, layout);
            }
            spec = spec_of(*dialect, {16, 16});
            if (!transformed) check_both(x, spec, spec, layout, false);
          }
      }
    }
}

TEST_CASE("quantize_both: one direction alone") {
  if (is_missing()) return;
  const Matrix x = data(1, 200, 136, Dtype::bf16);
  const QuantizeSpec te = spec_of(dialects::te::info);
  DeviceMatrix device(x);
  Buffer<float> amax(Where::device, 1);
  gpu::tensor_amax(device.view(), amax.data(), nullptr);
  Parts row(x.rows, x.cols, ScaleLayout::tiled_128x4, false),
      column(x.cols, x.rows, ScaleLayout::tiled_128x4, false);
  const gpu::Direction none{te, amax.data(), {}};
  gpu::quantize_both(device.view(), {te, amax.data(), row.parts()}, none, row.layout, std::nullopt, nullptr);
  gpu::quantize_both(device.view(), none, {te, amax.data(), column.parts()}, row.layout, std::nullopt,
                     nullptr);
  row.check(cpu_kernels().quantize(x.view(), te, {}));
  column.check(cpu_kernels().quantize_transposed(x.view(), te, {}));
}

TEST_CASE("dequantize_rows: the CPU layer, of every code and scale") {
  if (is_missing()) return;
  std::mt19937 random(5);
  for (const Shape& shape : shapes)
    for (const Dialect* dialect : all_dialects()) {
      const QuantizeSpec spec = spec_of(*dialect);
      if (!gpu::has_quantize_rows(spec)) continue;
      CAPTURE(shape.cols);
      CAPTURE(dialect->name);
      BlockScaledTensor t =
          cpu_kernels().quantize(data(1, shape.rows, shape.cols, Dtype::bf16).view(), spec, {});
      for (auto* bytes : {&t.codes, &t.scales})
        for (std::uint8_t& byte : *bytes) byte = static_cast<std::uint8_t>(random());
      const Matrix expected = cpu_kernels().dequantize(t);
      for (const ScaleLayout layout : {ScaleLayout::linear, ScaleLayout::tiled_128x4}) {
        Buffer<std::uint8_t> codes(Where::device, t.codes),
            scales(Where::device, to_layout(layout, t.scales, t.rows, t.blocks_per_row()));
        Buffer<float> global(Where::device, t.global),
            out(Where::device, static_cast<std::size_t>(t.rows * t.cols));
        gpu::dequantize_rows({codes.data(), scales.data(), global.data()}, layout, t.rows, t.cols, spec,
                             t.dtype, out.data(), nullptr);
        CHECK(std::memcmp(out.values().data(), expected.f32(), out.values().size() * 4) == 0);
      }
    }
}

TEST_CASE("quantize_rows and quantize_both refuse what they have not") {
  const QuantizeSpec te = spec_of(dialects::te::info), torchao = spec_of(dialects::torchao::info);
  const MatrixView x{nullptr, 16, 16, Dtype::fp32};
  CHECK_THROWS_AS(gpu::quantize_rows(x, torchao, nullptr, {}, ScaleLayout::linear, nullptr),
                  std::invalid_argument);
  CHECK_THROWS_AS(gpu::quantize_rows(x, te, nullptr, {}, ScaleLayout::tiled_8x4, nullptr),
                  std::invalid_argument);
  CHECK_THROWS_AS(
      gpu::quantize_both(x, {te, nullptr, {}}, {te, nullptr, {}}, ScaleLayout::linear, te_sign_mask, nullptr),
      std::invalid_argument);
  QuantizeSpec by_row = te;
  by_row.tensor_scale = TensorScale::row;
  CHECK_FALSE(gpu::has_quantize_rows(by_row));
  CHECK_THROWS_AS(gpu::quantize_rows(x, by_row, nullptr, {}, ScaleLayout::linear, nullptr),
                  std::invalid_argument);
  CHECK_THROWS_AS(gpu::transformed_amax(x, te_sign_mask, nullptr, nullptr, nullptr), std::invalid_argument);
}

TEST_CASE("quantize_rows: which specs it has") {
  const auto has = [](const Dialect& dialect, BlockShape block, TensorScale scale) {
    return gpu::has_quantize_rows({.dialect = &dialect, .block = block, .tensor_scale = scale});
  };
  CHECK(has(dialects::te::info, {1, 16}, TensorScale::tensor));
  CHECK(has(dialects::te::info, {16, 16}, TensorScale::tensor));
  CHECK(has(dialects::flashinfer_per_token::info, {1, 16}, TensorScale::row));
  CHECK(!has(dialects::te::info, {1, 16}, TensorScale::row));
  CHECK(!has(dialects::te_4over6::info, {16, 16}, TensorScale::tensor));
  CHECK(!has(dialects::torchao::info, {1, 16}, TensorScale::tensor));
}
