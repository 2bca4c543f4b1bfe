#include <nvfp4/kernels.hpp>

#include "accumulate.hpp"
#include "eden.hpp"
#include "epilogue.hpp"
#include "formats.hpp"
#include "hadamard.hpp"
#include "quantize.hpp"
#include "random.hpp"
#include "stochastic.hpp"

namespace nvfp4 {

const Kernels& reference_kernels() {
  static constexpr Kernels table{
      .name = "reference",
      .encode = reference::encode,
      .encode_stochastic = reference::encode_stochastic,
      .decode = reference::decode,
      .amax = reference::amax,
      .quantize = reference::quantize,
      .quantize_transposed = reference::quantize_transposed,
      .quantize_transformed = reference::quantize_transformed,
      .quantize_eden = reference::quantize_eden,
      .dequantize = reference::dequantize,
      .hadamard = reference::hadamard,
      .scale_output = reference::scale_output,
      .add_output = reference::add_output,
      .random_words = reference::random_words,
      .multiply = reference::multiply,
      .multiply_dense = reference::multiply_dense,
      .mma = reference::mma,
  };
  return table;
}

}  // namespace nvfp4
