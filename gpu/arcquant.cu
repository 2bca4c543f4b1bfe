#include "arcquant.hpp"

#include "arcquant.cuh"
#include "elements.cuh"

namespace nvfp4::gpu {

void quantize_augmented(MatrixView x, const Augmentation& a, const Dialect& dialect, const float* amax,
                        const TensorParts& out, Stream stream) {
  with_dialect_of(ArcquantDialects{}, dialect, [&]<class D>(D) {
    for_each_element(x.rows, a.channels / 16, quantize_augmented_task<D>(x, a, amax, out), stream,
                     "quantize_augmented");
  });
}

}  // namespace nvfp4::gpu
