#include <gpu/check.hpp>
#include <gpu/probe_tcgen05.cuh>
#include <gpu/tensor_memory.cuh>

namespace nvfp4::gpu {
namespace {

struct Machine : TensorMemory {
  using TensorMemory::TensorMemory;

  __device__ void write(std::uint32_t at, std::uint32_t word) {
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(base + at), "r"(word) : "memory");
  }
  /// What threads wrote is seen by tcgen05 from the next barrier on.
  __device__ void fence_writes() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
  __device__ void set(std::uint32_t at, std::uint32_t x) {
    asm volatile("tcgen05.st.sync.aligned.32x32b.x1.b32 [%0], {%1};" ::"r"(at), "r"(x) : "memory");
  }
  __device__ void wait_sets() { asm volatile("tcgen05.wait::st.sync.aligned;" ::: "memory"); }
};

__global__ void __launch_bounds__(probe_sm100::side)
    probe(const ProbeTiles x, const __grid_constant__ CUtensorMap none) {
#if defined(__CUDA_ARCH_FAMILY_SPECIFIC__) && __CUDA_ARCH_FAMILY_SPECIFIC__ / 100 == 10
  Machine gpu(none, none);
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
