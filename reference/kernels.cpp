#include <nvfp4/kernels.hpp>

#include "accumulate.hpp"
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
      .dequantize = reference::dequantize,
      .hadamard = reference::hadamard,
      .multiply = reference::multiply,
      .multiply_dense = reference::multiply_dense,
      .mma = reference::mma,
  };
  return table;
}

}  // namespace nvfp4
