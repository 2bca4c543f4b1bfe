#include <nvfp4/kernels.hpp>

#include "epilogue.hpp"
#include "formats.hpp"
#include "hadamard.hpp"
#include "quantize.hpp"
#include "stochastic.hpp"
#include "random.hpp"

namespace nvfp4 {

const Kernels& reference_kernels() {
  static constexpr Kernels table{
      .name = "reference",
      .encode = reference::encode,
      .encode_stochastic = reference::encode_stochastic,
      .decode = reference::decode,
      .amax = reference::amax,
      .quantize = reference::quantize,
      .dequantize = reference::dequantize,
      .hadamard = reference::hadamard,
      .scale_output = reference::scale_output,
      .random_words = reference::random_words,
  };
  return table;
}

}  // namespace nvfp4
