#include <doctest/doctest.h>

#include <nvfp4/cases.hpp>
#include <nvfp4/kernels.hpp>

#include "gpu/eden.cuh"
#include "gpu/eden.hpp"
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

TEST_CASE("gpu eden: refusals") {
  const Matrix y(2, 32);
  CHECK_THROWS_AS(gpu::correct_scales(y.view(), {.group = 48}, nullptr, nullptr, nullptr),
                  std::invalid_argument);
}
