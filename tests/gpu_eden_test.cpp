#include <doctest/doctest.h>

#include <nvfp4/cases.hpp>
#include <nvfp4/kernels.hpp>

#include "gpu/eden.cuh"
#include "gpu/eden.hpp"
#include "reference/formats.hpp"
#include "reference/number.hpp"
#include "tests/gpu_memory.hpp"
#include "tests/scattered.hpp"

using namespace nvfp4;
using namespace gpu_memory;

namespace {

std::vector<std::uint8_t> corrected(const Matrix& y, const Eden& eden, const BlockScaledTensor& nearest,
                                    Where where) {
  Buffer<std::byte> in(where, y.bytes);
  Buffer<float> global(where, nearest.global);
  Buffer<std::uint8_t> scales(where, nearest.scales);
  const MatrixView there{in.data(), y.rows, y.cols, y.dtype};
  if (where == Where::host)
    each(gpu::correction_groups(there, eden),
         gpu::correct_scales_task(there, eden, global.data(), scales.data()));
  else
    gpu::correct_scales(there, eden, global.data(), scales.data(), nullptr);
  return scales.values();
}

void check(const Matrix& y, Where where) {
  const BlockScaledTensor nearest =
      cpu_kernels().quantize(y.view(), default_spec(dialects::quartet2_eden::info), {});
  for (int group = 16; group <= 256; group *= 2) {
    const Eden eden{group, {.seed = 77, .stream = 5, .rounds = group == 32 ? 7 : 10, .row = 3}};
    CAPTURE(group);
    CHECK(corrected(y, eden, nearest, where) == reference_kernels().quantize_eden(y.view(), eden, {}).scales);
  }
}

}  // namespace

TEST_CASE_TEMPLATE("gpu eden: the corrected scales of every case and of numbers far apart" *
                       doctest::test_suite("sweep"),
                   Place, OnHost, OnDevice) {
  for (const Where where : places<Place>()) {
    for (const Dtype dtype : {Dtype::bf16, Dtype::fp16, Dtype::fp32})
      for (const scattered::Numbers& of :
           {scattered::Numbers{12, 6}, {1, 29}, {8, 20, 97, true}, {8, 20, 97}})
        for (const std::int64_t cols : {1, 40, 256, 300}) check(scattered::matrix(3, cols, dtype, of), where);
    for (const std::string_view pack : case_packs())
      for (const Case& c : make_cases(pack, Dtype::bf16, 1)) {
        CAPTURE(c.name);
        check(c.input, where);
      }
  }
}

/// An order of additions hardly ever shows in a scale: it is held against the reference's numbers here.
TEST_CASE("gpu eden: blocks meet in halves") {
  using N = reference::Number;
  using Eden2 = dialects::quartet2_eden;
  const Matrix y = scattered::matrix(20, 256, Dtype::fp32, {120, 12});
  const BlockScaledTensor nearest = cpu_kernels().quantize(y.view(), default_spec(Eden2::info), {});
  std::vector<std::uint8_t> scales = nearest.scales;
  const auto task = gpu::correct_scales_task(y.view(), {.group = 256}, nearest.global.data(), scales.data());
  for (std::int64_t i = 0; i < y.rows; ++i) {
    std::vector<Eden2::Products<N>> p;
    for (std::int64_t b = 0; b < 16; ++b) {
      const N scale(reference::decode(scales[static_cast<std::size_t>(16 * i + b)], Format::e4m3));
      p.push_back(Eden2::products([&](int, int j) { return N(y.f32()[256 * i + 16 * b + j]); },
                                  Eden2::block_encode(scale, N(nearest.global[0]))));
    }
    for (std::size_t half = 8; half > 0; half /= 2)
      for (std::size_t b = 0; b < half; ++b) p[b] = {p[b].yy + p[b + half].yy, p[b].yq + p[b + half].yq};
    CHECK(task.correction(i, 0).value == Eden2::correction(p[0]).value);
  }
}

TEST_CASE("gpu eden: refusals") {
  const Matrix y(2, 32);
  CHECK_THROWS_AS(gpu::correct_scales(y.view(), {.group = 48}, nullptr, nullptr, nullptr),
                  std::invalid_argument);
}
