#include "check.hpp"
#include "probe_tcgen05.cuh"
#include "tensor_memory.cuh"

namespace nvfp4::gpu {
namespace {

__global__ void __launch_bounds__(probe_sm100::side)
    probe(const ProbeTiles x, const __grid_constant__ CUtensorMap none) {
#if defined(__CUDA_ARCH_FAMILY_SPECIFIC__) && __CUDA_ARCH_FAMILY_SPECIFIC__ / 100 == 10
  TensorMemory gpu(none, none);
  probe_sm100::multiply_tile(gpu, x, blockIdx.x);
#endif
}

}  // namespace

void probe_tcgen05(const ProbeTiles& x, std::int64_t tiles) {
  constexpr int bytes = probe_sm100::shared + BulkMemory::swizzle_group;
  check(cudaFuncSetAttribute(probe, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "cudaFuncSetAttribute");
  probe<<<static_cast<unsigned>(tiles), probe_sm100::side, bytes>>>(x, CUtensorMap{});
  check_launch("tcgen05 probe");
}

}  // namespace nvfp4::gpu
