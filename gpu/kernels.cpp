#include <optional>

#include <nvfp4/gpu.hpp>

#include "accumulate.hpp"
#include "device.hpp"
#include "eden.hpp"
#include "epilogue.hpp"
#include "formats.hpp"
#include "hadamard.hpp"
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
  gpu::amax(matrix.view(), dialect.nan_in_tensor_amax, largest.data(), nullptr);
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

BlockScaledTensor quantized_eden(MatrixView y, const Eden& eden, BlockScaledTensor reuse) {
  validate(eden);
  const DeviceMatrix matrix(y);
  BlockScaledTensor out =
      quantized(matrix.view(), false, default_spec(dialects::quartet2_eden::info), std::move(reuse));
  const DeviceTensor parts(out);
  correct_scales(matrix.view(), eden, parts.global.data(), parts.scales.data(), nullptr);
  parts.scales.copy_to(out.scales);
  return out;
}

Matrix dequantized(const BlockScaledTensor& t) {
  Matrix out(t.rows, t.cols);
  const DeviceTensor parts(t);
  const DeviceArray<float> values(static_cast<std::size_t>(t.rows * t.cols));
  dequantize(parts.parts(), t.rows, t.cols, t.spec, t.dtype, values.data(), nullptr);
  values.copy_to({out.f32(), values.size()});
  return out;
}

void encode_values(std::span<const float> values, const Encoding& encoding, std::span<std::uint32_t> codes) {
  const DeviceArray<std::uint32_t> out(codes.size());
  const DeviceArray<float> in(values);
  encode(in.data(), static_cast<std::int64_t>(values.size()), encoding, out.data(), nullptr);
  out.copy_to(codes);
}

void encode_by_random(std::span<const float> values, std::span<const std::uint32_t> random,
                      const StochasticEncoding& encoding, std::span<std::uint32_t> codes) {
  validate(encoding);
  const DeviceArray<std::uint32_t> out(codes.size()), bits(random);
  const DeviceArray<float> in(values);
  encode_stochastic(in.data(), bits.data(), static_cast<std::int64_t>(values.size()), encoding, out.data(),
                    nullptr);
  out.copy_to(codes);
}

void decode_codes(std::span<const std::uint32_t> codes, Format format, std::span<float> values) {
  const DeviceArray<float> out(values.size());
  decode(DeviceArray(codes).data(), static_cast<std::int64_t>(codes.size()), format, out.data(), nullptr);
  out.copy_to(values);
}

void draw_words(const RandomBits& bits, std::int64_t row, std::int64_t first_block,
                std::span<std::uint32_t> words) {
  const DeviceArray<std::uint32_t> out(words.size());
  random_words(bits, row, first_block, static_cast<std::int64_t>(words.size() / 4), out.data(), nullptr);
  out.copy_to(words);
}

/// hadamard() of a matrix on the device.
DeviceArray<std::byte> rotated(MatrixView x, const Hadamard& h, Dtype to) {
  DeviceArray<std::byte> out(static_cast<std::size_t>(x.rows * x.cols) * size_of(to));
  gpu::hadamard(x, h, out.data(), nullptr);
  return out;
}

Matrix transformed(MatrixView x, const Hadamard& h) {
  validate(h, x.rows, x.cols);
  Matrix out(x.rows, x.cols, h.rounded ? x.dtype : Dtype::fp32);
  rotated(DeviceMatrix(x).view(), h, out.dtype).copy_to(out.bytes);
  return out;
}

BlockScaledTensor quantized_transform(MatrixView x, const Hadamard& h, const QuantizeSpec& spec,
                                      BlockScaledTensor reuse) {
  validate(spec);
  validate(h, x.rows, x.cols);
  const Dtype to = h.rounded ? x.dtype : Dtype::fp32;
  const DeviceArray<std::byte> y = rotated(DeviceMatrix(x).view(), h, to);
  return quantized({y.data(), x.rows, x.cols, to}, h.along == Along::tokens, spec, std::move(reuse));
}

/// On the device; a vector that is empty is no step.
struct Factors {
  DeviceArray<float> numbers;
  explicit Factors(const std::vector<float>& from) : numbers(std::span(from)) {}
  const float* get() const { return numbers.size() ? numbers.data() : nullptr; }
};

Matrix scaled_output(Matrix accumulator, const OutputScaling& s) {
  const Factors rows(s.rows), cols(s.cols);
  const DeviceMatrix y(accumulator.view());
  scale_output(reinterpret_cast<float*>(y.bytes.data()), accumulator.rows, accumulator.cols,
               {s.alpha, rows.get(), cols.get()}, nullptr);
  y.bytes.copy_to(accumulator.bytes);
  return accumulator;
}

Matrix sum_of_outputs(Matrix y, float factor, MatrixView x) {
  const DeviceMatrix sum(y.view()), term(x);
  add_output(reinterpret_cast<float*>(sum.bytes.data()), y.rows, y.cols, factor,
             reinterpret_cast<const float*>(term.bytes.data()), x.rows, nullptr);
  sum.bytes.copy_to(y.bytes);
  return y;
}

Matrix product(const MatrixProduct& x, const Accumulation& acc, Matrix out) {
  out.rows = x.rows, out.cols = x.cols, out.dtype = Dtype::fp32;
  out.bytes.resize(static_cast<std::size_t>(x.rows * x.cols) * sizeof(float));
  const DeviceArray<float> values(static_cast<std::size_t>(x.rows * x.cols));
  gpu::multiply(x, acc, values.data(), nullptr);
  values.copy_to({out.f32(), values.size()});
  return out;
}

Matrix multiply_tensors(const BlockScaledTensor& a, const BlockScaledTensor& b, const Accumulation& acc,
                        Matrix reuse) {
  validate(acc, a, b);
  const DeviceTensor left(a), right(b);
  return product({.a = code_matrix(a, left.codes.data(), left.scales.data()),
                  .b = code_matrix(b, right.codes.data(), right.scales.data()),
                  .rows = a.rows,
                  .cols = b.rows,
                  .k = a.cols,
                  .scale = a.spec.dialect->scale,
                  .block = a.spec.block.cols},
                 acc, std::move(reuse));
}

struct DenseOperand {
  DeviceArray<std::uint32_t> codes;
  DenseOperand(MatrixView x, std::optional<Format> format, std::string_view model)
      : codes(static_cast<std::size_t>(x.rows * x.cols)) {
    const DeviceArray<std::uint32_t> strangers(1);
    strangers.clear();
    dense_codes(DeviceMatrix(x).view(), format, codes.data(), strangers.data(), nullptr);
    std::uint32_t found = 0;
    strangers.copy_to({&found, 1});
    if (found)
      throw std::invalid_argument(std::string(model) + ": a dense operand has a value that is no " +
                                  std::string(info(*format).name) + " number");
  }
};

Matrix multiply_matrices(MatrixView a, MatrixView b, const Accumulation& acc) {
  const std::optional<Format> format = dense_format(acc, a, b);
  const DenseOperand left(a, format, acc.name), right(b, format, acc.name);
  const auto operand = [&](const DenseOperand& x) {
    return CodeMatrix{.codes = x.codes.data(), .code_bits = 32, .row_bytes = 4 * a.cols, .format = format};
  };
  return product({.a = operand(left), .b = operand(right), .rows = a.rows, .cols = b.rows, .k = a.cols}, acc,
                 {});
}

std::vector<std::uint64_t> instruction_chain(const MmaOperands& x, const Accumulation& acc, bool every_step) {
  validate(acc, x);
  const bool fp64 = acc.sum == Summation::fp64_fma;
  const auto narrow = [](std::span<const std::uint64_t> codes) {
    return std::vector<std::uint32_t>(codes.begin(), codes.end());
  };
  const DeviceArray<std::uint64_t> wide_a(fp64 ? x.a : x.a.first(0)), wide_b(fp64 ? x.b : x.b.first(0)),
      c(x.c);
  const std::vector<std::uint32_t> codes_a = narrow(fp64 ? x.a.first(0) : x.a),
                                   codes_b = narrow(fp64 ? x.b.first(0) : x.b);
  const DeviceArray<std::uint32_t> a{std::span(codes_a)}, b{std::span(codes_b)};
  const DeviceArray<std::uint8_t> a_scales(x.a_scales), b_scales(x.b_scales);
  const auto operand = [&](const auto& wide, const auto& codes, Format format, const auto& scales) {
    return CodeMatrix{.codes = fp64 ? static_cast<const void*>(wide.data()) : codes.data(),
                      .code_bits = fp64 ? 64 : 32,
                      .row_bytes = (fp64 ? 8 : 4) * x.k,
                      .format = fp64 ? std::nullopt : std::optional(format),
                      .scales = scales.data()};
  };
  const MatrixProduct product{.a = operand(wide_a, a, x.a_format, a_scales),
                              .b = operand(wide_b, b, x.b_format, b_scales),
                              .tiles = x.tiles,
                              .rows = x.rows,
                              .cols = x.cols,
                              .k = x.k,
                              .scale = x.scale,
                              .block = x.block ? x.block : 1,
                              .c = c.data()};
  const std::int64_t kept = every_step ? chain_length(acc, x.k) : 1;
  std::vector<std::uint64_t> out(static_cast<std::size_t>(x.tiles * kept * x.rows * x.cols));
  const DeviceArray<std::uint64_t> values(out.size());
  gpu::mma(product, acc, every_step, values.data(), nullptr);
  values.copy_to(out);
  return out;
}

constexpr Kernels table{
    .name = "gpu",
    .encode = encode_values,
    .encode_stochastic = encode_by_random,
    .decode = decode_codes,
    .amax = amax_of,
    .quantize = quantized_rows,
    .quantize_transposed = quantized_columns,
    .quantize_transformed = quantized_transform,
    .quantize_eden = quantized_eden,
    .dequantize = dequantized,
    .hadamard = transformed,
    .scale_output = scaled_output,
    .add_output = sum_of_outputs,
    .random_words = draw_words,
    .multiply = multiply_tensors,
    .multiply_dense = multiply_matrices,
    .mma = instruction_chain,
};

}  // namespace

const Kernels& gpu_kernels() {
  require_device();
  return table;
}

}  // namespace nvfp4
