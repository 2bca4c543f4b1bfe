#include "hadamard.hpp"

#include "elements.cuh"
#include "hadamard.cuh"

namespace nvfp4::gpu {

void hadamard(MatrixView x, const Hadamard& h, void* out, Stream stream) {
  for_each_element(x.rows, x.cols, hadamard_output(x, h, out), stream, "hadamard");
}

}  // namespace nvfp4::gpu
