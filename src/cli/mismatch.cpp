#include "mismatch.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include <nvfp4/dialects/all.hpp>
#include <nvfp4/kernels.hpp>

#include "number.hpp"

namespace nvfp4::cli {
namespace {

float block_amax(MatrixView x, const QuantizeSpec& spec, std::int64_t row, std::int64_t col) {
  const std::int64_t row0 = row / spec.block.rows * spec.block.rows,
                     col0 = col / spec.block.cols * spec.block.cols;
  float amax = 0;
  for (std::int64_t i = row0; i < std::min(row0 + spec.block.rows, x.rows); ++i)
    for (std::int64_t j = col0; j < std::min(col0 + spec.block.cols, x.cols); ++j) {
      const float value = std::fabs(element(x, i, j));
      if (std::isnan(value) && nan_poisons(*spec.dialect)) return value;
      if (value > amax) amax = value;
    }
  return amax;
}

}  // namespace

bool nan_poisons(const Dialect& dialect) {
  static constexpr auto by_dialect = Dialects::table([]<class D>(D) { return D::nan_in_amax; });
  return by_dialect[index_of(dialect)];
}

float element(MatrixView x, std::int64_t row, std::int64_t col) {
  const std::int64_t i = row * x.cols + col;
  if (x.dtype == Dtype::fp32) return static_cast<const float*>(x.data)[i];
  const std::uint32_t code = static_cast<const std::uint16_t*>(x.data)[i];
  float value;
  reference_kernels().decode({&code, 1}, x.dtype == Dtype::bf16 ? Format::bf16 : Format::fp16, {&value, 1});
  return value;
}

std::string explain_command(MatrixView x, const QuantizeSpec& spec, std::int64_t row, std::int64_t col,
                            float tensor_amax) {
  col = std::min(col, x.cols - 1);  // a pad code: the block's last element shows its scale
  const std::string value = shortest(element(x, row, col));
  return "nvfp4 explain" + (value == "-inf" ? "" : " " + value) + " --amax " +
         shortest(block_amax(x, spec, row, col)) + " --tensor-amax " + shortest(tensor_amax) + " --dialect " +
         std::string(spec.dialect->name) + (value == "-inf" ? " -- -inf" : "");
}

}  // namespace nvfp4::cli
