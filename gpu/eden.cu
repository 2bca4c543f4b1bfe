#include "eden.hpp"

#include "eden.cuh"
#include "elements.cuh"

namespace nvfp4::gpu {

void correct_scales(MatrixView y, const Eden& eden, const float* global, std::uint8_t* scales,
                    Stream stream) {
  const CorrectScales task = correct_scales_task(y, eden, global, scales);
  for_each(correction_groups(y, eden), task, stream, "correct_scales");
}

}  // namespace nvfp4::gpu
