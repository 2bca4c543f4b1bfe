#include "quantize.hpp"

#include <algorithm>
#include <utility>

#include "hadamard.hpp"
#include "quantizer.hpp"

namespace nvfp4::reference {

float amax(MatrixView x, const Dialect& dialect) {
  return amax(widen(x), {0, x.rows, 0, x.cols}, dialect.nan_in_tensor_amax);
}

BlockScaledTensor quantize(MatrixView x, const QuantizeSpec& spec, BlockScaledTensor) {
  validate(spec);
  validate_words(spec, x.rows, x.cols);
  static constexpr auto by_dialect = Dialects::table([]<class D>(D) { return quantize_as<D>; });
  return by_dialect[index_of(*spec.dialect)](x, spec);
}

BlockScaledTensor quantize_transposed(MatrixView x, const QuantizeSpec& spec, BlockScaledTensor reuse) {
  const auto size = static_cast<std::int64_t>(size_of(x.dtype));
  const auto* from = static_cast<const std::byte*>(x.data);
  Matrix turned(x.cols, x.rows, x.dtype);
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t j = 0; j < x.cols; ++j)
      std::copy_n(from + (i * x.cols + j) * size, size, turned.bytes.data() + (j * x.rows + i) * size);
  return quantize(turned.view(), spec, std::move(reuse));
}

BlockScaledTensor quantize_transformed(MatrixView x, const Hadamard& h, const QuantizeSpec& spec,
                                       BlockScaledTensor reuse) {
  const Matrix y = hadamard(x, h);
  if (h.along == Along::row) return quantize(y.view(), spec, std::move(reuse));
  return quantize_transposed(y.view(), spec, std::move(reuse));
}

Matrix dequantize(const BlockScaledTensor& t) {
  static constexpr auto by_dialect = Dialects::table([]<class D>(D) { return dequantize_as<D>; });
  return by_dialect[index_of(*t.spec.dialect)](t);
}

}  // namespace nvfp4::reference
