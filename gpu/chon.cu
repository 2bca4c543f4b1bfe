#include "chon.hpp"

#include "chon.cuh"
#include "elements.cuh"

namespace nvfp4::gpu {

void add_residual_scores(const QuantizedOperand& o, double* scores, Stream stream) {
  with_dialect_of(ChonDialects{}, *o.spec.dialect, [&]<class D>(D) {
    const Residual<D> residual = residual_of<D>(o, nullptr, 0);
    if (residual.rows)
      for_each(residual.cols, AddResidualScore<D>{residual, scores}, stream, "add_residual_scores", 64);
  });
}

void quantize_residual(const QuantizedOperand& o, const std::int64_t* channels, std::int64_t count,
                       const float* amax, const RandomBits& random, const TensorParts& out, Stream stream) {
  with_dialect_of(ChonDialects{}, *o.spec.dialect, [&]<class D>(D) {
    const QuantizeResidual<D> task = quantize_residual_task<D>(o, channels, count, amax, random, out);
    const std::int64_t tall = o.spec.block.rows;
    for_each_element((task.t.x.rows + tall - 1) / tall, count / 16, task, stream, "quantize_residual");
  });
}

void copy_blocks(const TensorParts& from, std::int64_t from_blocks_per_row, const std::int64_t* blocks,
                 std::int64_t count, std::int64_t rows, const TensorParts& to, std::int64_t to_blocks_per_row,
                 std::int64_t first, Stream stream) {
  for_each_element(rows, count, CopyBlock{from, from_blocks_per_row, blocks, to, to_blocks_per_row, first},
                   stream, "copy_blocks");
}

}  // namespace nvfp4::gpu
