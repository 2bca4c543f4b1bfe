#include <nvfp4/producers.hpp>

#include <cmath>
#include <stdexcept>
#include <string>

#include <nvfp4/kernels.hpp>

namespace nvfp4 {
namespace {

constexpr BlockShape tile{16, 16};

QuantizeSpec four_over_six(int e4m3_max, Select select, bool error_fast) {
  QuantizeSpec spec = default_spec(dialects::te_ref_4over6::info);
  spec.four_over_six = {e4m3_max, select, error_fast};
  return spec;
}

Producer alone(std::string_view name, const Dialect& dialect) {
  return {.name = name, .spec = default_spec(dialect)};
}

/// The producers' refusals are those that their own code raised when the golden files were made.
const Producer table[] = {
    {.name = "te_ref_1d", .spec = default_spec(dialects::te_ref::info), .columns = true},
    {.name = "te_ref_1d_rht",
     .spec = default_spec(dialects::te_ref::info),
     .columns = true,
     .rht = 16,
     .row_multiple = 16},
    {.name = "te_ref_2d",
     .spec = {.dialect = &dialects::te_ref::info, .block = tile},
     .columns = true,
     .row_multiple = 16,
     .col_multiple = 16},
    {.name = "te_ref_rowscaled",
     .spec = {.dialect = &dialects::te_ref::info, .tensor_scale = TensorScale::row},
     .columns = true},
    {.name = "te_ref_4over6_mae448", .spec = four_over_six(448, Select::mae, false), .columns = true},
    {.name = "te_ref_4over6_mse256", .spec = four_over_six(256, Select::mse, false), .columns = true},
    {.name = "te_ref_4over6_mae256_fast", .spec = four_over_six(256, Select::mae, true), .columns = true},
    alone("fouroversix_static6", dialects::fouroversix_static6::info),
    alone("fouroversix_static4", dialects::fouroversix_static4::info),
    alone("fouroversix_mse", dialects::fouroversix_mse::info),
    alone("fouroversix_mae", dialects::fouroversix_mae::info),
    alone("fouroversix_absmax", dialects::fouroversix_absmax::info),
    alone("torchao_two_level", dialects::torchao::info),
    alone("torchao_single_level", dialects::torchao_single_level::info),
    alone("modelopt", dialects::modelopt::info),
    alone("modelopt_static", dialects::modelopt_static::info),
    {.name = "modelopt_onnx",
     .spec = default_spec(dialects::modelopt_onnx::info),
     .row_multiple = 2,
     .refuses_nonfinite = true},
    alone("compressed_tensors", dialects::compressed_tensors::info),
    alone("llmcompressor", dialects::compressed_tensors::info),
    alone("flashinfer_ref", dialects::flashinfer_ref::info),
    alone("vllm_emulation", dialects::vllm_emulation::info),
    alone("auto_round", dialects::auto_round::info),
    alone("jax_quantize", dialects::jax::info),
    {.name = "mlx_global", .spec = default_spec(dialects::mlx::info), .size_multiple = 32},
    {.name = "mlx_single_level", .spec = default_spec(dialects::mlx_single_level::info), .size_multiple = 32},
    {.name = "ggml", .spec = default_spec(dialects::ggml::info), .col_multiple = 64},
};

/// The columns are another operand, with random bits of their own.
Producer of_columns(Producer producer) {
  if (producer.spec.stochastic) ++producer.spec.stochastic->random.stream;
  return producer;
}

std::string refusal(const Producer& p, MatrixView x, const Kernels& kernels) {
  const auto multiple = [](std::string_view what, int of) {
    return "it needs " + std::string(what) + " in multiples of " + std::to_string(of);
  };
  if (x.rows % p.row_multiple) return multiple("rows", p.row_multiple);
  if (x.cols % p.col_multiple) return multiple("columns", p.col_multiple);
  if (x.rows * x.cols % p.size_multiple) return multiple("elements", p.size_multiple);
  if (p.refuses_nonfinite && !std::isfinite(kernels.amax(x, *p.spec.dialect)))
    return "its amax is not finite";
  return "";
}

/// The producer's spec for sums that it quantizes unrounded: their amax comes from a pass that rounds them.
QuantizeSpec with_rounded_amax(const Producer& producer, MatrixView x, Hadamard h, const Kernels& kernels) {
  QuantizeSpec spec = producer.spec;
  if (spec.tensor_scale == TensorScale::row)
    throw std::invalid_argument(std::string(spec.dialect->name) + " of a transform has one tensor scale");
  h.rounded = true;
  if (!spec.amax) spec.amax = kernels.amax(kernels.hadamard(x, h).view(), *spec.dialect);
  return spec;
}

}  // namespace

std::span<const Producer> producers() { return table; }

const Producer* find_producer(std::string_view name) {
  for (const Producer& p : table)
    if (p.name == name) return &p;
  return nullptr;
}

HadamardSum hadamard_sum(const Dialect& dialect, Dtype dtype) {
  return dialect.tensor_core_rht && dtype == Dtype::bf16 ? HadamardSum::tensor_core : HadamardSum::fma_chain;
}

Hadamard transform_of(const Producer& producer, Dtype dtype, Along along) {
  const Dialect& dialect = *producer.spec.dialect;
  return {.signs = producer.signs,
          .sum = hadamard_sum(dialect, dtype),
          .rounded = !dialect.unrounded_rht,
          .size = producer.rht,
          .along = along,
          .seed = producer.seed};
}

BlockScaledTensor quantize_operand(const Producer& producer, MatrixView x, Along along,
                                   const Kernels& kernels) {
  if (!producer.rht)
    return (along == Along::row ? kernels.quantize : kernels.quantize_transposed)(x, producer.spec, {});
  const Hadamard h = transform_of(producer, x.dtype, along);
  if (h.rounded) return kernels.quantize_transformed(x, h, producer.spec, {});
  return kernels.quantize_transformed(x, h, with_rounded_amax(producer, x, h, kernels), {});
}

ProducerResult quantize(const Producer& producer, MatrixView x, const Kernels& kernels) {
  if (const std::string why = refusal(producer, x, kernels); !why.empty())
    throw std::invalid_argument(std::string(producer.name) + " refuses " + std::to_string(x.rows) + "x" +
                                std::to_string(x.cols) + ": " + why);
  if (!producer.columns) return {quantize_operand(producer, x, Along::row, kernels), std::nullopt};
  ProducerResult result{kernels.quantize(x, producer.spec, {}), std::nullopt};
  if (x.rows % 16 && !producer.name.empty()) return result;
  result.columns = quantize_operand(of_columns(producer), x, Along::tokens, kernels);
  return result;
}

}  // namespace nvfp4
