#include <doctest/doctest.h>

#include <algorithm>

#include <nvfp4/cases.hpp>
#include <nvfp4/kernels.hpp>

#include "gpu/tetrajet.cuh"
#include "gpu/tetrajet.hpp"
#include "tests/gpu_memory.hpp"
#include "tests/scattered.hpp"

using namespace nvfp4;
using namespace gpu_memory;

namespace {

template <class D>
void on_host(MatrixView x, bool transposed, const QuantizeSpec& spec, const gpu::TensorParts& out) {
  gpu::QuantizeTask t = gpu::task_of(x, transposed, spec);
  t.out = out;
  each_element(t.x.rows, t.blocks_per_row, [&](std::int64_t row, std::int64_t b) {
    std::uint32_t largest = 0;
    for (std::int64_t other = b / 8 * 8; other < b / 8 * 8 + 8; ++other)
      largest = std::max(largest, gpu::amax_bits<D>(t, row, other));
    gpu::quantize_in_double_block<D>(t, row, b, largest);
  });
}

void check(const Matrix& x, const QuantizeSpec& spec, bool transposed, Where where) {
  const BlockScaledTensor expected =
      (transposed ? cpu_kernels().quantize_transposed : cpu_kernels().quantize)(x.view(), spec, {});
  Buffer<std::byte> in(where, x.bytes);
  Buffer<std::uint8_t> codes(where, expected.codes.size()), scales(where, expected.scales.size());
  Buffer<float> global(where, expected.global.size());
  const MatrixView there{in.data(), x.rows, x.cols, x.dtype};
  const gpu::TensorParts out{codes.data(), scales.data(), global.data()};
  if (where == Where::host)
    gpu::with_dialect_of(gpu::TetrajetDialects{}, *spec.dialect,
                         [&]<class D>(D) { on_host<D>(there, transposed, spec, out); });
  else
    gpu::quantize_double_blocks(there, transposed, spec, out, nullptr);
  CHECK(codes.values() == expected.codes);
  CHECK(scales.values() == expected.scales);
  CHECK(std::ranges::equal(global.values(), expected.global,
                           [](float a, float b) { return std::bit_cast<int>(a) == std::bit_cast<int>(b); }));
}

std::vector<QuantizeSpec> specs() {
  std::vector<QuantizeSpec> all;
  for (const Dialect* d : {&dialects::tetrajet_v2::info, &dialects::tetrajet_v2_unbiased::info}) {
    all.push_back(default_spec(*d));
    for (const SrRule rule : {SrRule::carry, SrRule::te_software}) {
      all.push_back(default_spec(*d));
      all.back().stochastic = Stochastic{.rule = rule, .map = ByteMap::te, .random = {.seed = 9, .row = 5}};
    }
  }
  return all;
}

}  // namespace

TEST_CASE_TEMPLATE("gpu tetrajet: double blocks of every case, along rows and along tokens", Place, OnHost,
                   OnDevice) {
  for (const Where where : places<Place>())
    for (const QuantizeSpec& spec : specs())
      for (const bool transposed : {false, true}) {
        for (const Dtype dtype : {Dtype::bf16, Dtype::fp16, Dtype::fp32})
          for (const scattered::Numbers& of : {scattered::Numbers{12, 6}, {1, 29}, {8, 20, 97}})
            for (const std::int64_t cols : {1, 127, 300})
              check(scattered::matrix(21, cols, dtype, of), spec, transposed, where);
        for (const std::string_view pack : case_packs())
          for (const Case& c : make_cases(pack, Dtype::fp32, 1)) {
            CAPTURE(c.name);
            check(c.input, spec, transposed, where);
          }
      }
}

TEST_CASE("gpu tetrajet: refusals") {
  const Matrix x(2, 32);
  CHECK_THROWS_AS(gpu::quantize_double_blocks(x.view(), false, {}, {}, nullptr), std::invalid_argument);
}
