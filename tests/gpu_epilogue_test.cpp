#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include <nvfp4/kernels.hpp>

#include "gpu/epilogue.cuh"
#include "gpu/epilogue.hpp"
#include "tests/gpu_memory.hpp"
#include "tests/scattered.hpp"

using namespace nvfp4;
using namespace gpu_memory;

namespace {

constexpr std::int64_t rows = 37, cols = 61;

std::vector<float> numbers(std::int64_t n, const scattered::Numbers& of) {
  const Matrix m = scattered::matrix(1, n, Dtype::fp32, of);
  return {m.f32(), m.f32() + n};
}

Matrix matrix(std::int64_t m, std::int64_t n, const scattered::Numbers& of) {
  return scattered::matrix(m, n, Dtype::fp32, of);
}

Matrix with_values(Matrix m, const std::vector<float>& values) {
  std::ranges::copy(values, m.f32());
  return m;
}

constexpr scattered::Numbers every_exponent[] = {{0, 255, 20}, {90, 60, 200}, {1, 40}};

}  // namespace

TEST_CASE_TEMPLATE("gpu epilogue: an accumulator by its scales", Place, OnHost, OnDevice) {
  for (const Where where : places<Place>())
    for (const scattered::Numbers& of : every_exponent)
      for (const float alpha : {1.f, 0x1.3p-20f, -0.f, 0x1p-140f, 0x1p100f})
        for (int steps = 0; steps < 4; ++steps) {
          OutputScaling s{.alpha = alpha};
          if (steps & 1) s.rows = numbers(rows, of);
          if (steps & 2) s.cols = numbers(cols, of);
          const Matrix y = matrix(rows, cols, of);
          Buffer<float> out(where, {y.f32(), rows * cols}), r(where, s.rows), c(where, s.cols);
          const gpu::OutputFactors factors{alpha, r.data(), c.data()};
          if (where == Where::host)
            each_element(rows, cols, gpu::ScaleOutput{out.data(), cols, factors});
          else
            gpu::scale_output(out.data(), rows, cols, factors, nullptr);
          CHECK(with_values(y, out.values()).bytes == reference_kernels().scale_output(y, s).bytes);
        }
}

TEST_CASE_TEMPLATE("gpu epilogue: a matrix or a row, times a factor, added", Place, OnHost, OnDevice) {
  for (const Where where : places<Place>())
    for (const scattered::Numbers& of : every_exponent)
      for (const float factor : {1.f, -1.f, 0x1.5p-3f, 0.f, 0x1p-140f, 0x1p100f})
        for (const std::int64_t x_rows : {std::int64_t{1}, rows}) {
          const Matrix y = matrix(rows, cols, {90, 60, 100}), x = matrix(x_rows, cols, of);
          Buffer<float> out(where, {y.f32(), rows * cols}),
              in(where, {x.f32(), static_cast<std::size_t>(x_rows * cols)});
          if (where == Where::host)
            each_element(rows, cols, gpu::AddOutput{out.data(), cols, factor, in.data(), x_rows == 1});
          else
            gpu::add_output(out.data(), rows, cols, factor, in.data(), x_rows, nullptr);
          CHECK(with_values(y, out.values()).bytes ==
                reference_kernels().add_output(y, factor, x.view()).bytes);
        }
}
