#include <nvfp4/gpu.hpp>

#include "device.hpp"
#include "host.hpp"

namespace nvfp4 {

const Kernels& gpu_kernels() {
  namespace host = gpu::host;
  static constexpr Kernels table{
      .name = "gpu",
      .encode = host::encode,
      .encode_stochastic = host::encode_stochastic,
      .decode = host::decode,
      .amax = host::amax,
      .quantize = host::quantize,
      .quantize_transposed = host::quantize_transposed,
      .quantize_transformed = host::quantize_transformed,
      .quantize_eden = host::quantize_eden,
      .dequantize = host::dequantize,
      .hadamard = host::hadamard,
      .scale_output = host::scale_output,
      .add_output = host::add_output,
      .random_words = host::random_words,
      .multiply = host::multiply,
      .multiply_dense = host::multiply_dense,
      .mma = host::mma,
  };
  gpu::require_device();
  return table;
}

}  // namespace nvfp4
