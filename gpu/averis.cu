#include "averis.hpp"

#include "averis.cuh"
#include "elements.cuh"

namespace nvfp4::gpu {

void split_mean(MatrixView x, void* mean, void* residual, Stream stream) {
  for_each(x.cols, column_mean(x, mean), stream, "column_mean", 64);  // few threads: over all multiprocessors
  const MeanResidual split = mean_residual(x, mean, residual);
  for_each_element(split.bands(), x.cols, split, stream, "mean_residual");
}

}  // namespace nvfp4::gpu
