#include <nvfp4/kernels.hpp>

#include "formats.hpp"
#include "hadamard.hpp"
#include "quantize.hpp"

namespace nvfp4 {

const Kernels& reference_kernels() {
  static constexpr Kernels table{
      .name = "reference",
      .encode = reference::encode,
      .decode = reference::decode,
      .amax = reference::amax,
      .quantize = reference::quantize,
      .quantize_transposed = reference::quantize_transposed,
      .dequantize = reference::dequantize,
      .hadamard = reference::hadamard,
  };
  return table;
}

}  // namespace nvfp4
