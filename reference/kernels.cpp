#include <nvfp4/kernels.hpp>

#include "formats.hpp"
#include "hadamard.hpp"
#include "quantize.hpp"
#include "random.hpp"

namespace nvfp4 {

const Kernels& reference_kernels() {
  static constexpr Kernels table{
      .name = "reference",
      .encode = reference::encode,
      .decode = reference::decode,
      .amax = reference::amax,
      .quantize = reference::quantize,
      .dequantize = reference::dequantize,
      .hadamard = reference::hadamard,
      .random_words = reference::random_words,
  };
  return table;
}

}  // namespace nvfp4
