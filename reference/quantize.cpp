#include "quantize.hpp"

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

Matrix dequantize(const BlockScaledTensor& t) {
  static constexpr auto by_dialect = Dialects::table([]<class D>(D) { return dequantize_as<D>; });
  return by_dialect[index_of(*t.spec.dialect)](t);
}

}  // namespace nvfp4::reference
