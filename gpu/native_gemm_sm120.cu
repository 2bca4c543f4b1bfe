#include "native_gemm_sm120.cuh"
#include "native_gemm_sm120.hpp"
#include "native_output.cuh"
#include "warp_memory.cuh"

namespace nvfp4::gpu {
namespace {

template <class T>
struct Machine : WarpMemory, NativeOutput<T> {
  __device__ Machine(const NativeGemm& p) : NativeOutput<T>(p) {}

  __device__ void mma(float* acc, const std::uint32_t* a, const std::uint32_t* b, std::uint32_t a_scales,
                      std::uint32_t b_scales) {
    asm("mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3}, {%10}, {0,0}, {%11}, {0,0};"
        : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(a_scales), "r"(b_scales));
  }
};

template <class T, ScaleLayout layout>
__global__ void __launch_bounds__(sm120::threads, 1) gemm_sm120(const NativeGemm p) {
#if defined(__CUDA_ARCH_FAMILY_SPECIFIC__) && __CUDA_ARCH_FAMILY_SPECIFIC__ / 100 == 12
  Machine<T> gpu(p);
  sm120::multiply_block<layout>(gpu, p, blockIdx.x);
#endif
}

template <ScaleLayout layout>
void launch(const NativeGemm& p, Stream stream) {
  with_output(p.out, [&]<class T>(T*) {
    launch_tiles(gemm_sm120<T, layout>, p, sm120::tile, sm120::tile, sm120::threads, sm120::shared_bytes,
                 stream);
  });
}

}  // namespace

void native_gemm_sm120(const NativeGemm& p, Stream stream) {
  if (p.layout == ScaleLayout::linear) return launch<ScaleLayout::linear>(p, stream);
  launch<ScaleLayout::tiled_128x4>(p, stream);
}

}  // namespace nvfp4::gpu
