#include <optional>

#include <nvfp4/dialects/all.hpp>

#include "copies.hpp"
#include "eden.hpp"
#include "hadamard.hpp"
#include "host.hpp"
#include "quantize_rows.hpp"

namespace nvfp4::gpu::host {
namespace {

void prepare(BlockScaledTensor& out, MatrixView x, bool transposed, const QuantizeSpec& spec) {
  out.spec = spec;
  out.dtype = x.dtype;
  out.rows = transposed ? x.cols : x.rows;
  out.cols = transposed ? x.rows : x.cols;
  out.codes.resize(static_cast<std::size_t>(out.rows * out.row_bytes()));
  out.scales.resize(static_cast<std::size_t>(out.rows * out.blocks_per_row()));
  const bool has_global = spec.dialect->global_is != GlobalIs::none;
  out.global.resize(has_global ? static_cast<std::size_t>(scale_count(spec, out.rows, out.cols)) : 0);
}

DeviceArray<float> amaxes_of(MatrixView x, bool transposed, const QuantizeSpec& spec,
                             const BlockScaledTensor& out) {
  if (spec.amax) return DeviceArray(std::span(&*spec.amax, 1));
  DeviceArray<float> found(static_cast<std::size_t>(scale_count(spec, out.rows, out.cols)));
  amaxes(x, transposed, spec, found.data(), nullptr);
  return found;
}

/// Of a matrix on the device.
BlockScaledTensor quantized(MatrixView x, bool transposed, QuantizeSpec spec, BlockScaledTensor out) {
  prepare(out, x, transposed, spec);
  validate_words(spec, out.rows, out.cols);
  std::optional<DeviceArray<std::uint32_t>> words;
  if (spec.stochastic && spec.stochastic->from_caller) {
    words.emplace(spec.stochastic->words);
    spec.stochastic->words = {words->data(), words->size()};
  }
  const DeviceTensor parts(out);
  const DeviceArray<float> found = amaxes_of(x, transposed, spec, out);
  if (!transposed && has_quantize_rows(spec))
    quantize_rows(x, spec, found.data(), parts.parts(), ScaleLayout::linear, nullptr);
  else
    gpu::quantize(x, transposed, spec, found.data(), parts.parts(), nullptr);
  parts.codes.copy_to(out.codes);
  parts.scales.copy_to(out.scales);
  parts.global.copy_to(out.global);
  if (out.spec.stochastic) out.spec.stochastic->words = {};
  return out;
}

/// hadamard() of a matrix on the device.
DeviceArray<std::byte> rotated(MatrixView x, const Hadamard& h, Dtype to) {
  DeviceArray<std::byte> out(static_cast<std::size_t>(x.rows * x.cols) * size_of(to));
  gpu::hadamard(x, h, out.data(), nullptr);
  return out;
}

}  // namespace

float amax(MatrixView x, const Dialect& dialect) {
  const DeviceMatrix matrix(x);
  const DeviceArray<float> largest(1);
  float value = 0;
  gpu::amax(matrix.view(), dialect.nan_in_tensor_amax, largest.data(), nullptr);
  largest.copy_to({&value, 1});
  return value;
}

BlockScaledTensor quantize(MatrixView x, const QuantizeSpec& spec, BlockScaledTensor reuse) {
  validate(spec);
  return quantized(DeviceMatrix(x).view(), false, spec, std::move(reuse));
}

BlockScaledTensor quantize_transposed(MatrixView x, const QuantizeSpec& spec, BlockScaledTensor reuse) {
  validate(spec);
  return quantized(DeviceMatrix(x).view(), true, spec, std::move(reuse));
}

BlockScaledTensor quantize_transformed(MatrixView x, const Hadamard& h, const QuantizeSpec& spec,
                                       BlockScaledTensor reuse) {
  validate(spec);
  validate(h, x.rows, x.cols);
  const Dtype to = h.rounded ? x.dtype : Dtype::fp32;
  const DeviceArray<std::byte> y = rotated(DeviceMatrix(x).view(), h, to);
  return quantized({y.data(), x.rows, x.cols, to}, h.along == Along::tokens, spec, std::move(reuse));
}

BlockScaledTensor quantize_eden(MatrixView y, const Eden& eden, BlockScaledTensor reuse) {
  validate(eden);
  const DeviceMatrix matrix(y);
  BlockScaledTensor out =
      quantized(matrix.view(), false, default_spec(dialects::quartet2_eden::info), std::move(reuse));
  const DeviceTensor parts(out);
  correct_scales(matrix.view(), eden, parts.global.data(), parts.scales.data(), nullptr);
  parts.scales.copy_to(out.scales);
  return out;
}

Matrix dequantize(const BlockScaledTensor& t) {
  Matrix out(t.rows, t.cols);
  const DeviceTensor parts(t);
  const DeviceArray<float> values(static_cast<std::size_t>(t.rows * t.cols));
  gpu::dequantize(parts.parts(), t.rows, t.cols, t.spec, t.dtype, values.data(), nullptr);
  values.copy_to({out.f32(), values.size()});
  return out;
}

Matrix hadamard(MatrixView x, const Hadamard& h) {
  validate(h, x.rows, x.cols);
  Matrix out(x.rows, x.cols, h.rounded ? x.dtype : Dtype::fp32);
  rotated(DeviceMatrix(x).view(), h, out.dtype).copy_to(out.bytes);
  return out;
}

}  // namespace nvfp4::gpu::host
