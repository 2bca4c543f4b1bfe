#include <nvfp4/stack.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>

namespace nvfp4 {

MatrixView expert_of(MatrixView x, std::int64_t experts, std::int64_t expert) {
  const std::int64_t rows = x.rows / experts,
                     bytes = rows * x.cols * static_cast<std::int64_t>(size_of(x.dtype));
  return {static_cast<const std::byte*>(x.data) + expert * bytes, rows, x.cols, x.dtype};
}

std::vector<BlockScaledTensor> quantize_stack(MatrixView x, std::int64_t experts, const QuantizeSpec& spec,
                                              const Kernels& kernels) {
  if (experts < 1 || x.rows % experts)
    throw std::invalid_argument(std::to_string(x.rows) + " rows are no " + std::to_string(experts) +
                                " experts of one shape");
  if (spec.amax) throw std::invalid_argument("one tensor amax cannot replace a scale for each expert");
  std::vector<BlockScaledTensor> stack;
  for (std::int64_t e = 0; e < experts; ++e)
    stack.push_back(kernels.quantize(expert_of(x, experts, e), spec, {}));
  return stack;
}

Matrix dequantize_stack(std::span<const BlockScaledTensor> experts, const Kernels& kernels) {
  const auto count = static_cast<std::int64_t>(experts.size());
  Matrix out(count * experts[0].rows, experts[0].cols);
  auto end = out.bytes.begin();
  for (const BlockScaledTensor& expert : experts)
    end = std::ranges::copy(kernels.dequantize(expert).bytes, end).out;
  return out;
}

}  // namespace nvfp4
