#pragma once

/// Marks functions that kernels share with tests that need neither nvcc nor a GPU.
#ifdef __CUDACC__
#define NVFP4_HOST_DEVICE __host__ __device__
#else
#define NVFP4_HOST_DEVICE
#endif

/// The host's compiler knows no such pragmas.
#ifdef __CUDA_ARCH__
#define NVFP4_UNROLL _Pragma("unroll")
#define NVFP4_NO_UNROLL _Pragma("unroll 1")
#else
#define NVFP4_UNROLL
#define NVFP4_NO_UNROLL
#endif
