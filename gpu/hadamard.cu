#include "hadamard.hpp"

#include "elements.cuh"
#include "hadamard.cuh"

namespace nvfp4::gpu {

void hadamard(MatrixView x, const Hadamard& h, void* out, Stream stream) {
  if (h.sum != HadamardSum::fma_chain)
    return for_each_element(x.rows, x.cols, hadamard_output(x, h, out), stream, "hadamard");
  with_hadamard_group(x, h, out, [&](const auto& group) {
    const std::int64_t bands = h.along == Along::row ? x.rows : x.rows / h.size,
                       groups = h.along == Along::row ? x.cols / h.size : x.cols;
    for_each_element(bands, groups, group, stream, "hadamard");
  });
}

}  // namespace nvfp4::gpu
