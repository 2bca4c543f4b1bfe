#include <optional>

#include <nvfp4/gpu.hpp>

#include "device.hpp"
#include "memory.hpp"
#include "quantize.hpp"

/// Each launch with copies of what it reads, there, and of what it writes, back.
namespace nvfp4 {
namespace {

using namespace gpu;

std::span<const std::byte> bytes_of(MatrixView x) {
  return {static_cast<const std::byte*>(x.data),
          static_cast<std::size_t>(x.rows * x.cols) * size_of(x.dtype)};
}

struct DeviceMatrix {
  DeviceArray<std::byte> bytes;
  MatrixView shape;
  explicit DeviceMatrix(MatrixView x) : bytes(bytes_of(x)), shape(x) {}
  MatrixView view() const { return {bytes.data(), shape.rows, shape.cols, shape.dtype}; }
};

struct DeviceTensor {
  DeviceArray<std::uint8_t> codes, scales;
  DeviceArray<float> global;
  explicit DeviceTensor(const BlockScaledTensor& t)
      : codes(std::span(t.codes)), scales(std::span(t.scales)), global(std::span(t.global)) {}
  TensorParts parts() const { return {codes.data(), scales.data(), global.data()}; }
};

float amax_of(MatrixView x, const Dialect& dialect) {
  const DeviceMatrix matrix(x);
  const DeviceArray<float> largest(1);
  float value = 0;
  gpu::amax(matrix.view(), false, {.dialect = &dialect, .block = {1, dialect.block_cols}}, largest.data(),
            nullptr);
  largest.copy_to({&value, 1});
  return value;
}

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
  DeviceArray<float> amaxes(static_cast<std::size_t>(scale_count(spec, out.rows, out.cols)));
  gpu::amax(x, transposed, spec, amaxes.data(), nullptr);
  return amaxes;
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
  quantize(x, transposed, spec, amaxes_of(x, transposed, spec, out).data(), parts.parts(), nullptr);
  parts.codes.copy_to(out.codes);
  parts.scales.copy_to(out.scales);
  parts.global.copy_to(out.global);
  if (out.spec.stochastic) out.spec.stochastic->words = {};
  return out;
}

BlockScaledTensor quantized_rows(MatrixView x, const QuantizeSpec& spec, BlockScaledTensor reuse) {
  validate(spec);
  return quantized(DeviceMatrix(x).view(), false, spec, std::move(reuse));
}

BlockScaledTensor quantized_columns(MatrixView x, const QuantizeSpec& spec, BlockScaledTensor reuse) {
  validate(spec);
  return quantized(DeviceMatrix(x).view(), true, spec, std::move(reuse));
}

Matrix dequantized(const BlockScaledTensor& t) {
  Matrix out(t.rows, t.cols);
  const DeviceTensor parts(t);
  const DeviceArray<float> values(static_cast<std::size_t>(t.rows * t.cols));
  dequantize(parts.parts(), t.rows, t.cols, t.spec, t.dtype, values.data(), nullptr);
  values.copy_to({out.f32(), values.size()});
  return out;
}

}  // namespace
}  // namespace nvfp4
