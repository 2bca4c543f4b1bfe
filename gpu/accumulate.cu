#include "gpu/accumulate.hpp"

#include <stdexcept>

#include "gpu/accumulate.cuh"
#include "gpu/elements.cuh"

namespace nvfp4::gpu {

CodeMatrix code_matrix(const BlockScaledTensor& t, const void* codes, const std::uint8_t* scales) {
  const Format format = t.spec.dialect->element;
  return {codes, info(format).bits == 4 ? 4 : 8, t.row_bytes(), format, scales};
}

Chain chain_of(const MatrixProduct& x, const Accumulation& acc) {
  const bool fp64 = acc.sum == Summation::fp64_fma;
  if (fp64 && (x.scale || x.a.code_bits != 64 || x.b.code_bits != 64))
    throw std::invalid_argument("FP64 products take 64-bit codes and no block scales");
  if (x.scale && (!x.a.scales || !x.b.scales))
    throw std::invalid_argument("both operands need their block scales");
  if (!fp64 && x.a.format && x.b.format) validate(acc, *x.a.format, *x.b.format, x.scale, x.block);
  if (!fp64 && (!x.a.format || !x.b.format) && !takes_all(acc))
    throw std::invalid_argument(std::string(acc.name) + ": takes no FP32 elements");
  const auto fields = [&](const CodeMatrix& m) {
    return fp64 ? fp64_fields : m.format ? code_fields(*m.format) : fp32_fields;
  };
  return {x, acc, fields(x.a), fields(x.b), x.scale ? code_fields(*x.scale) : CodeFields{}};
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

DenseCode dense_code(const void* values, Dtype dtype, std::optional<Format> format, std::uint32_t* codes,
                     std::uint32_t* strangers) {
  const Encoder e = encoder({.format = format.value_or(Format::tf32), .overflow = Overflow::special});
  return {values, dtype, !format, e, codes, strangers};
}

void dense_codes(const void* values, Dtype dtype, std::int64_t n, std::optional<Format> format,
                 std::uint32_t* codes, std::uint32_t* strangers, Stream stream) {
  for_each(n, dense_code(values, dtype, format, codes, strangers), stream, "dense_codes");
}

}  // namespace nvfp4::gpu
