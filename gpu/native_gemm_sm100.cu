#include "native_gemm_sm100.cuh"
#include "native_gemm_sm100.hpp"
#include "native_output.cuh"
#include "tensor_map.hpp"
#include "tensor_memory.cuh"

namespace nvfp4::gpu {
namespace {

template <class T>
struct Machine : TensorMemory, NativeOutput<T> {
  __device__ Machine(const NativeGemm& p, const CUtensorMap& a, const CUtensorMap& b)
      : TensorMemory(a, b), NativeOutput<T>(p) {}
};

template <class T, int n>
__global__ void __launch_bounds__(sm100::threads, 1)
    gemm_sm100(const NativeGemm p, const __grid_constant__ CUtensorMap a,
               const __grid_constant__ CUtensorMap b) {
#if defined(__CUDA_ARCH_FAMILY_SPECIFIC__) && __CUDA_ARCH_FAMILY_SPECIFIC__ / 100 == 10
  Machine<T> gpu(p, a, b);
  sm100::multiply_block<n>(gpu, p, blockIdx.x);
#endif
}

template <int n>
void launch(const NativeGemm& p, Stream stream) {
  const CUtensorMap a = codes_map(p.a, p.m, p.k / 2, sm100::tile_m), b = codes_map(p.b, p.n, p.k / 2, n);
  with_output(p.out, [&]<class T>(T*) {
    launch_tiles(gemm_sm100<T, n>, p, sm100::tile_m, n, sm100::threads,
                 sm100::Plan<n>::shared + BulkMemory::swizzle_group, stream, a, b);
  });
}

}  // namespace

void native_gemm_sm100(const NativeGemm& p, Stream stream) {
  if (p.n > 128) return launch<256>(p, stream);
  launch<128>(p, stream);
}

}  // namespace nvfp4::gpu
