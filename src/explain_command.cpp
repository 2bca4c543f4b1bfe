#include <algorithm>
#include <cmath>
#include <cstring>

#include <nvfp4/explain.hpp>
#include <nvfp4/kernels.hpp>
#include <nvfp4/testing.hpp>

#include "explain_question.hpp"
#include "number_text.hpp"

namespace nvfp4 {
namespace {

/// Rows and columns [row, row + rows) x [col, col + cols) as a matrix of their own.
Matrix part(MatrixView x, std::int64_t row, std::int64_t col, std::int64_t rows, std::int64_t cols) {
  Matrix out(rows, cols, x.dtype);
  const auto item = static_cast<std::int64_t>(size_of(x.dtype));
  const auto* from = static_cast<const std::byte*>(x.data);
  for (std::int64_t i = 0; i < rows; ++i)
    std::memcpy(out.bytes.data() + i * cols * item, from + ((row + i) * x.cols + col) * item,
                static_cast<std::size_t>(cols * item));
  return out;
}

std::vector<float> widened(const Matrix& m) {
  const auto count = static_cast<std::size_t>(m.rows * m.cols);
  if (m.dtype == Dtype::fp32) return {m.f32(), m.f32() + count};
  const std::vector<std::uint32_t> codes(m.u16(), m.u16() + count);
  std::vector<float> values(count);
  cpu_kernels().decode(codes, m.dtype == Dtype::bf16 ? Format::bf16 : Format::fp16, values);
  return values;
}

float block_amax(MatrixView x, const QuantizeSpec& spec, std::int64_t row, std::int64_t col) {
  const std::int64_t row0 = row / spec.block.rows * spec.block.rows,
                     col0 = col / spec.block.cols * spec.block.cols;
  const Matrix block = part(x, row0, col0, std::min<std::int64_t>(spec.block.rows, x.rows - row0),
                            std::min<std::int64_t>(spec.block.cols, x.cols - col0));
  return cpu_kernels().amax(block.view(), *spec.dialect);
}

float tensor_amax(MatrixView x, const QuantizeSpec& spec, std::int64_t row, std::int64_t col) {
  if (spec.amax) return *spec.amax;
  if (spec.tensor_scale == TensorScale::tensor) return cpu_kernels().amax(x, *spec.dialect);
  const std::int64_t outer = spec.dialect->outer_cols, first = outer ? col / outer * outer : 0;
  const std::int64_t count = outer ? std::min(outer, x.cols - first) : x.cols;
  return cpu_kernels().amax(part(x, row, first, 1, count).view(), *spec.dialect);
}

/// Beyond the dialect's name, what its arithmetic depends on.
std::string options(const QuantizeSpec& spec, Dtype dtype) {
  std::string text;
  if (dtype != Dtype::fp32) text += dtype == Dtype::bf16 ? " --dtype bf16" : " --dtype float16";
  const FourOverSix& o = spec.four_over_six;
  if (o.e4m3_max != FourOverSix{}.e4m3_max) text += " --e4m3-max " + std::to_string(o.e4m3_max);
  if (o.select != FourOverSix{}.select) text += " --select " + std::string(name(o.select));
  if (o.error_fast) text += " --error-fast";
  return text;
}

}  // namespace

/// A parser would take -inf for options: it stands behind `--`.
std::string explain_command(const ExplainQuestion& q) {
  std::string before, behind;
  for (const float value : q.values) (value == -INFINITY ? behind : before) += " " + shortest(value);
  std::string text = "nvfp4 explain" + before;
  if (q.amax) text += " --amax " + shortest(*q.amax);
  if (q.tensor_amax) text += " --tensor-amax " + shortest(*q.tensor_amax);
  text += " --dialect " + std::string(q.spec.dialect->name) + options(q.spec, q.dtype);
  if (q.spec.stochastic) text += " --random " + hex8(q.random);
  if (q.spec.stochastic && q.spec.stochastic->rule != SrRule::carry)
    text += " --sr-rule " + std::string(name(q.spec.stochastic->rule));
  return text + (behind.empty() ? "" : " --" + behind);
}

ExplainQuestion explain_question(MatrixView x, const QuantizeSpec& spec, std::int64_t row, std::int64_t col) {
  const std::int64_t first = col / spec.block.cols * spec.block.cols;
  const auto count = std::min<std::int64_t>(spec.block.cols, x.cols - first);
  ExplainQuestion q{.spec = spec, .dtype = x.dtype, .values = widened(part(x, row, first, 1, count))};
  q.amax = block_amax(x, spec, row, col);
  q.tensor_amax = tensor_amax(x, spec, row, col);
  q.spec.block.rows = 1;
  q.spec.stochastic.reset();  // its byte is not known here
  return q;
}

std::string testing::explain_command(MatrixView x, const QuantizeSpec& spec, std::int64_t row,
                                     std::int64_t col) {
  col = std::min(col, x.cols - 1);
  ExplainQuestion q = explain_question(x, spec, row, col);
  q.values = {q.values[static_cast<std::size_t>(col % spec.block.cols)]};
  return nvfp4::explain_command(q);
}

}  // namespace nvfp4
