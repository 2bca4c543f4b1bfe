#include <doctest/doctest.h>

#include <string>
#include <vector>

#include <nvfp4/kernels.hpp>

#include "gpu/hadamard.cuh"
#include "gpu/hadamard.hpp"
#include "tests/gpu_memory.hpp"
#include "tests/scattered.hpp"

using namespace nvfp4;
using namespace gpu_memory;

namespace {

Matrix gpu_hadamard(MatrixView x, const Hadamard& h, Where where) {
  Matrix out(x.rows, x.cols, h.rounded ? x.dtype : Dtype::fp32);
  const std::span bytes(static_cast<const std::byte*>(x.data),
                        static_cast<std::size_t>(x.rows * x.cols) * size_of(x.dtype));
  Buffer<std::byte> in(where, bytes), made(where, out.bytes.size());
  x.data = in.data();
  const bool by_row = h.along == Along::row;
  if (where == Where::device)
    gpu::hadamard(x, h, made.data(), nullptr);
  else if (h.sum != HadamardSum::fma_chain)
    each_element(x.rows, x.cols, gpu::hadamard_output(x, h, made.data()));
  else
    gpu::with_hadamard_group(x, h, made.data(), [&](const auto& group) {
      each_element(by_row ? x.rows : x.rows / h.size, by_row ? x.cols / h.size : x.cols, group);
    });
  out.bytes = made.values();
  return out;
}

/// Every sum, size, sign, direction and type of output.
template <class Check>
void each_transform(Check check) {
  for (const HadamardSum sum : {HadamardSum::fma_chain, HadamardSum::tensor_core, HadamardSum::exact})
    for (int size = 2; size <= 128; size *= 2)
      for (const Signs signs : {Signs::none, Signs::te, Signs::seed})
        for (const bool rounded : {false, true})
          for (const Along along : {Along::row, Along::tokens})
            if (signs != Signs::te || size == 16)
              check(Hadamard{signs, sum, rounded, size, along, 0x123456789ABCDEF0});
}

}  // namespace

TEST_CASE_TEMPLATE("gpu hadamard: every transform of numbers near and far and their specials" *
                       doctest::test_suite("sweep"),
                   Place, OnHost, OnDevice) {
  const std::vector<scattered::Numbers> bf16{{100, 60}, {0, 255}, {120, 4, 90}}, fp16{{0, 31}, {12, 4, 90}},
      fp32{{100, 60}, {0, 255}, {126, 2}, {120, 4, 90}, {253, 2, 500, true}};
  for (const Where where : places<Place>())
    for (const Dtype dtype : {Dtype::bf16, Dtype::fp16, Dtype::fp32})
      for (const scattered::Numbers& numbers : dtype == Dtype::bf16   ? bf16
                                               : dtype == Dtype::fp16 ? fp16
                                                                      : fp32)
        each_transform([&](const Hadamard& h) {
          const std::int64_t wide = 128, narrow = 3;
          const bool by_row = h.along == Along::row;
          const Matrix x = scattered::matrix(by_row ? narrow : wide, by_row ? wide : narrow, dtype, numbers);
          CAPTURE(static_cast<int>(dtype));
          CAPTURE(static_cast<int>(h.sum));
          CAPTURE(h.size);
          CHECK(gpu_hadamard(x.view(), h, where).bytes == cpu_kernels().hadamard(x.view(), h).bytes);
        });
}

TEST_CASE("gpu hadamard: refusals") {
  const Matrix x(3, 24);
  CHECK_THROWS_AS(gpu::hadamard_output(x.view(), {}, nullptr), std::invalid_argument);
  CHECK_THROWS_AS(gpu::hadamard(x.view(), {.signs = Signs::te, .size = 8}, nullptr, nullptr),
                  std::invalid_argument);
}
