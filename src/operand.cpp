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

Operand operand(const OperandRecipe& o, MatrixView x, Along along, const RandomBits& bits,
                const Kernels& kernels) {
  if (o.dialect.empty())
    return {.dense = along == Along::tokens ? transpose(x) : converted(x, x.dtype, kernels)};
  const Producer producer{
      .name = "", .spec = spec_of(o, bits), .rht = o.rht, .signs = o.signs, .seed = bits.seed};
  if (o.rht == 0) return {.quantized = quantize_operand(producer, x, along, kernels)};
  const Matrix whole = padded(x, along, o.rht);
  Matrix transformed = kernels.hadamard(whole.view(), transform_of(producer, x.dtype, along));
  return {.quantized = quantize_operand(producer, whole.view(), along, kernels),
          .transformed = along == Along::tokens ? transpose(transformed.view()) : std::move(transformed)};
}

}  // namespace

Operand lowered(const OperandRecipe& o, const Side& side, const RandomBits& bits, const Kernels& kernels) {
  if (o.source == Source::input) return operand(o, side.x, side.along, bits, kernels);
  const Matrix decoded = kernels.dequantize(*side.forward->quantized);
  return operand(o, decoded.view(), side.along, bits, kernels);
}

/// A single-level dialect decodes so.
Matrix block_scaled_values(const BlockScaledTensor& t, Dtype dtype, const Kernels& kernels) {
  BlockScaledTensor single_level = t;
  single_level.spec = {.dialect = &dialects::torchao_single_level::info, .block = t.spec.block};
  single_level.global.clear();
  return converted(kernels.dequantize(single_level).view(), dtype, kernels);
}

}  // namespace nvfp4
