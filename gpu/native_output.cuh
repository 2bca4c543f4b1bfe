#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "check.hpp"
#include "native_gemm.cuh"

namespace nvfp4::gpu {

/// D, of float, __nv_bfloat16 or __half.
template <class T>
struct NativeOutput {
  T* d;
  float alpha;

  __device__ NativeOutput(const NativeGemm& p) : d(static_cast<T*>(p.d)), alpha(p.alpha ? *p.alpha : 1) {}

  template <int width>
  __device__ void store(std::int64_t at, const float* acc) const {
    struct alignas(width * sizeof(T)) Group {
      T x[width];
    } group;
    for (int i = 0; i < width; ++i) group.x[i] = rounded(__fmul_rn(alpha, acc[i]));
    *reinterpret_cast<Group*>(d + at) = group;
  }

 private:
  static __device__ T rounded(float x) {
    if constexpr (sizeof(T) == 4)
      return x;
    else if constexpr (std::is_same_v<T, __half>)
      return __float2half_rn(x);
    else
      return __float2bfloat16_rn(x);
  }
};

/// f with a null pointer to the type of `out`.
template <class F>
void with_output(Dtype out, F f) {
  if (out == Dtype::fp32) return f(static_cast<float*>(nullptr));
  if (out == Dtype::bf16) return f(static_cast<__nv_bfloat16*>(nullptr));
  f(static_cast<__half*>(nullptr));
}

/// One block a tile of D.
template <class Kernel, class... Arguments>
void launch_tiles(Kernel kernel, const NativeGemm& p, int rows, int cols, int threads, std::size_t shared,
                  Stream stream, const Arguments&... arguments) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)),
        "cudaFuncSetAttribute");
  const auto blocks = static_cast<unsigned>(ceil_div(p.m, rows) * ceil_div(p.n, cols));
  kernel<<<blocks, threads, shared, stream>>>(p, arguments...);
  check_launch("native GEMM");
}

}  // namespace nvfp4::gpu
