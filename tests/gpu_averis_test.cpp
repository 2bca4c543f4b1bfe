#include <doctest/doctest.h>

#include <nvfp4/kernels.hpp>
#include <nvfp4/nvfp4.hpp>

#include "gpu/averis.cuh"
#include "gpu/averis.hpp"
#include "tests/gpu_memory.hpp"
#include "tests/scattered.hpp"

using namespace nvfp4;
using namespace gpu_memory;

namespace {

struct Split {
  Matrix mean, residual;
};

/// As src/schemes/averis.cpp composes it.
Split expected_split(MatrixView x) {
  const Kernels& kernels = cpu_kernels();
  Matrix ones(1, x.rows);
  std::fill_n(ones.f32(), x.rows, 1.f);
  const Matrix weights = converted(ones.view(), x.dtype, kernels);
  Matrix sums =
      kernels.multiply_dense(weights.view(), transpose(x).view(), *find_accumulation("fp32_in_order"));
  const float share = 1 / static_cast<float>(x.rows);
  Matrix mean = converted(kernels.scale_output(std::move(sums), {.alpha = share}).view(), x.dtype, kernels);
  const Matrix wide = converted(mean.view(), Dtype::fp32, kernels);
  const Matrix residual = kernels.add_output(converted(x, Dtype::fp32, kernels), -1, wide.view());
  return {std::move(mean), converted(residual.view(), x.dtype, kernels)};
}

Split gpu_split(const Matrix& x, Where where) {
  Split made{Matrix(1, x.cols, x.dtype), Matrix(x.rows, x.cols, x.dtype)};
  Buffer<std::byte> in(where, x.bytes), mean(where, made.mean.bytes.size()), residual(where, x.bytes.size());
  const MatrixView there{in.data(), x.rows, x.cols, x.dtype};
  if (where == Where::host) {
    each(x.cols, gpu::column_mean(there, mean.data()));
    const gpu::MeanResidual split = gpu::mean_residual(there, mean.data(), residual.data());
    each_element(split.bands(), x.cols, split);
  } else {
    gpu::split_mean(there, mean.data(), residual.data(), nullptr);
  }
  made.mean.bytes = mean.values(), made.residual.bytes = residual.values();
  return made;
}

}  // namespace

TEST_CASE_TEMPLATE("gpu averis: mean and residual of every element type" * doctest::test_suite("sweep"),
                   Place, OnHost, OnDevice) {
  for (const Where where : places<Place>())
    for (const Dtype dtype : {Dtype::bf16, Dtype::fp16, Dtype::fp32})
      for (const scattered::Numbers& of :
           {scattered::Numbers{12, 6}, {1, 29}, {20, 8, 301, true}, {20, 8, 301}})
        for (const std::int64_t rows : {1, 31, 32, 33, 100, 515})
          for (const std::int64_t cols : {1, 70, 300}) {
            const Matrix x = scattered::matrix(rows, cols, dtype, of);
            const Split expected = expected_split(x.view()), actual = gpu_split(x, where);
            CAPTURE(rows);
            CAPTURE(cols);
            CAPTURE(static_cast<int>(dtype));
            CHECK(actual.mean.bytes == expected.mean.bytes);
            CHECK(actual.residual.bytes == expected.residual.bytes);
          }
}
