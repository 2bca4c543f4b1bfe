#include "accumulate.hpp"

#include "accumulate.cuh"
#include "elements.cuh"

namespace nvfp4::gpu {

CodeMatrix code_matrix(const BlockScaledTensor& t, const void* codes, const std::uint8_t* scales) {
  const Format format = t.spec.dialect->element;
  return {codes, info(format).bits == 4 ? 4 : 8, t.row_bytes(), format, scales};
}

std::int64_t chain_length(const Accumulation& acc, std::int64_t k) {
  return acc.sum == Summation::exact ? (k ? 1 : 0) : instructions(acc, k);
}

void multiply(const MatrixProduct& x, const Accumulation& acc, float* out, Stream stream) {
  if (acc.sum == Summation::fp64_fma)
    throw std::invalid_argument(std::string(acc.name) + ": its results are not FP32");
  for_each(x.tiles * x.rows * x.cols, ProductOutput{chain_of(x, acc), out}, stream, "multiply");
}

void mma(const MatrixProduct& x, const Accumulation& acc, bool every_step, std::uint64_t* out,
         Stream stream) {
  for_each(x.tiles * x.rows * x.cols, MmaOutput{chain_of(x, acc), every_step, out}, stream, "mma");
}

void dense_codes(MatrixView x, std::optional<Format> format, std::uint32_t* codes, std::uint32_t* strangers,
                 Stream stream) {
  for_each_element(x.rows, x.cols, dense_code(x, format, codes, strangers), stream, "dense_codes");
}

}  // namespace nvfp4::gpu
