#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "accumulate.hpp"
#include "copies.hpp"
#include "epilogue.hpp"
#include "gemm.hpp"
#include "host.hpp"

namespace nvfp4::gpu::host {
namespace {

/// On the device; a vector that is empty is no step.
struct Factors {
  DeviceArray<float> numbers;
  explicit Factors(const std::vector<float>& from) : numbers(std::span(from)) {}
  const float* get() const { return numbers.size() ? numbers.data() : nullptr; }
};

Matrix resized(Matrix out, std::int64_t rows, std::int64_t cols) {
  out.rows = rows, out.cols = cols, out.dtype = Dtype::fp32;
  out.bytes.resize(static_cast<std::size_t>(rows * cols) * sizeof(float));
  return out;
}

Matrix literal_product(const MatrixProduct& x, const Accumulation& acc, Matrix out) {
  const DeviceArray<float> values(static_cast<std::size_t>(x.rows * x.cols));
  gpu::multiply(x, acc, values.data(), nullptr);
  values.copy_to({out.f32(), values.size()});
  return out;
}

/// What gemm() computes.
bool is_sm100_nvfp4(const Accumulation& x) {
  const auto rules = [](const Accumulation& acc) {
    return std::tuple(acc.sum, acc.k, acc.step, acc.group, acc.fraction_bits, acc.zero_exponent, acc.align,
                      acc.align_rounding, acc.zero_rule, acc.k_order, acc.out, acc.c_in_sum, acc.minus_zero,
                      acc.scale);
  };
  return rules(x) == rules(*find_accumulation("sm100_nvfp4"));
}

CodedOperand coded(const BlockScaledTensor& t, const DeviceTensor& parts) {
  return {parts.codes.data(), parts.scales.data(), t.rows, t.cols};
}

Matrix fast_product(const CodedOperand& a, const CodedOperand& b, Matrix out) {
  const DeviceArray<std::byte> workspace(static_cast<std::size_t>(gemm_bytes(a.rows, b.rows, a.k)));
  const DeviceArray<float> values(static_cast<std::size_t>(a.rows * b.rows));
  gpu::gemm({.a = a, .b = b, .d = values.data()}, Engine::emulated, workspace.data(), nullptr);
  values.copy_to({out.f32(), values.size()});
  return out;
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

struct InstructionOperand {
  DeviceArray<std::uint64_t> codes;
  DeviceArray<std::uint8_t> scales;
  CodeMatrix matrix;
  /// Without a format the codes are FP64's.
  InstructionOperand(std::span<const std::uint64_t> from, std::span<const std::uint8_t> block_scales,
                     std::optional<Format> format, std::int64_t k)
      : codes(from),
        scales(block_scales),
        matrix{.codes = codes.data(),
               .code_bits = 64,
               .row_bytes = 8 * k,
               .format = format,
               .scales = scales.data()} {}
};

}  // namespace

Matrix scale_output(Matrix accumulator, const OutputScaling& s) {
  const Factors rows(s.rows), cols(s.cols);
  const DeviceMatrix y(accumulator.view());
  gpu::scale_output(reinterpret_cast<float*>(y.bytes.data()), accumulator.rows, accumulator.cols,
                    {s.alpha, rows.get(), cols.get()}, nullptr);
  y.bytes.copy_to(accumulator.bytes);
  return accumulator;
}

Matrix add_output(Matrix y, float factor, MatrixView x) {
  const DeviceMatrix sum(y.view()), term(x);
  gpu::add_output(reinterpret_cast<float*>(sum.bytes.data()), y.rows, y.cols, factor,
                  reinterpret_cast<const float*>(term.bytes.data()), x.rows, nullptr);
  sum.bytes.copy_to(y.bytes);
  return y;
}

Matrix multiply(const BlockScaledTensor& a, const BlockScaledTensor& b, const Accumulation& acc,
                Matrix reuse) {
  validate(acc, a, b);
  Matrix out = resized(std::move(reuse), a.rows, b.rows);
  const DeviceTensor left(a), right(b);
  if (is_sm100_nvfp4(acc) && a.rows && b.rows && a.cols)
    return fast_product(coded(a, left), coded(b, right), std::move(out));
  return literal_product({.a = code_matrix(a, left.codes.data(), left.scales.data()),
                          .b = code_matrix(b, right.codes.data(), right.scales.data()),
                          .rows = a.rows,
                          .cols = b.rows,
                          .k = a.cols,
                          .scale = a.spec.dialect->scale,
                          .block = a.spec.block.cols},
                         acc, std::move(out));
}

Matrix multiply_dense(MatrixView a, MatrixView b, const Accumulation& acc) {
  const std::optional<Format> format = dense_format(acc, a, b);
  const DenseOperand left(a, format, acc.name), right(b, format, acc.name);
  const auto operand = [&](const DenseOperand& x) {
    return CodeMatrix{.codes = x.codes.data(), .code_bits = 32, .row_bytes = 4 * a.cols, .format = format};
  };
  return literal_product(
      {.a = operand(left), .b = operand(right), .rows = a.rows, .cols = b.rows, .k = a.cols}, acc,
      Matrix(a.rows, b.rows));
}

std::vector<std::uint64_t> mma(const MmaOperands& x, const Accumulation& acc, bool every_step) {
  validate(acc, x);
  const bool fp64 = acc.sum == Summation::fp64_fma;
  const auto format = [&](Format f) { return fp64 ? std::nullopt : std::optional(f); };
  const InstructionOperand a(x.a, x.a_scales, format(x.a_format), x.k),
      b(x.b, x.b_scales, format(x.b_format), x.k);
  const DeviceArray<std::uint64_t> c(x.c);
  const MatrixProduct product{.a = a.matrix,
                              .b = b.matrix,
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

}  // namespace nvfp4::gpu::host
