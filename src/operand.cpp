#include <cstring>

#include <nvfp4/kernels.hpp>
#include <nvfp4/producers.hpp>
#include <nvfp4/scheme.hpp>

namespace nvfp4 {
namespace {

/// With zeros appended: columns up to a multiple, or rows where those are tokens.
Matrix padded(MatrixView x, Along along, std::int64_t multiple) {
  const auto up = [&](std::int64_t n) { return (n + multiple - 1) / multiple * multiple; };
  Matrix out(along == Along::tokens ? up(x.rows) : x.rows, along == Along::row ? up(x.cols) : x.cols,
             x.dtype);
  const auto size = static_cast<std::int64_t>(size_of(x.dtype));
  for (std::int64_t i = 0; i < x.rows; ++i)
    std::memcpy(out.bytes.data() + i * out.cols * size,
                static_cast<const std::byte*>(x.data) + i * x.cols * size,
                static_cast<std::size_t>(x.cols * size));
  return out;
}

QuantizeSpec spec_of(const OperandRecipe& o, const RandomBits& bits) {
  QuantizeSpec spec{.dialect = find_dialect(o.dialect), .block = o.block, .tensor_scale = o.tensor_scale};
  spec.four_over_six = o.four_over_six;
  if (o.stochastic) spec.stochastic = Stochastic{.random = bits};
  return spec;
}

Producer producer_of(const OperandRecipe& o, const RandomBits& bits) {
  return {.name = "", .spec = spec_of(o, bits), .rht = o.rht, .signs = o.signs, .seed = bits.seed};
}

/// Of a matrix that is padded to the transform's size.
Matrix transformed(const Producer& producer, MatrixView whole, Along along, const Kernels& kernels) {
  Matrix out = kernels.hadamard(whole, transform_of(producer, whole.dtype, along));
  return along == Along::tokens ? transpose(out.view()) : out;
}

Operand operand(const OperandRecipe& o, MatrixView x, Along along, const RandomBits& bits,
                const Kernels& kernels) {
  if (o.dialect.empty())
    return {.dense = along == Along::tokens ? transpose(x) : converted(x, x.dtype, kernels)};
  const Producer producer = producer_of(o, bits);
  if (o.rht == 0) return {.quantized = quantize_operand(producer, x, along, kernels)};
  const Matrix whole = padded(x, along, o.rht);
  return {.quantized = quantize_operand(producer, whole.view(), along, kernels),
          .transformed = transformed(producer, whole.view(), along, kernels)};
}

/// Calls with the matrix that the operand is made from.
template <class Make>
auto from_source(const OperandRecipe& o, const Side& side, const Kernels& kernels, const Make& make) {
  if (o.source == Source::input) return make(side.x);
  const Matrix decoded = kernels.dequantize(*side.forward->quantized);
  return make(decoded.view());
}

}  // namespace

Matrix transformed(const OperandRecipe& o, const Side& side, const RandomBits& bits, const Kernels& kernels) {
  return from_source(o, side, kernels, [&](MatrixView x) {
    return transformed(producer_of(o, bits), padded(x, side.along, o.rht).view(), side.along, kernels);
  });
}

Operand lowered(const OperandRecipe& o, const Side& side, const RandomBits& bits, const Kernels& kernels) {
  return from_source(o, side, kernels,
                     [&](MatrixView x) { return operand(o, x, side.along, bits, kernels); });
}

/// A single-level dialect decodes so.
Matrix block_scaled_values(const BlockScaledTensor& t, Dtype dtype, const Kernels& kernels) {
  BlockScaledTensor single_level = t;
  single_level.spec = {.dialect = &dialects::torchao_single_level::info, .block = t.spec.block};
  single_level.global.clear();
  return converted(kernels.dequantize(single_level).view(), dtype, kernels);
}

}  // namespace nvfp4
