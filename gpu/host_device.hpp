#pragma once

/// Marks functions that kernels share with tests that need neither nvcc nor a GPU.
#ifdef __CUDACC__
#define NVFP4_HOST_DEVICE __host__ __device__
#else
#define NVFP4_HOST_DEVICE
#endif

#ifdef __CUDA_ARCH__
#define NVFP4_UNROLL _Pragma("unroll")
#else
#define NVFP4_UNROLL
#endif
