#pragma once
#include <nvfp4/kernels.hpp>

namespace nvfp4 {

/// The table of the current CUDA device, of compute capability 8.0 or more: tensors are copied there and back. For data
/// that lies there already, gpu/ has launches on pointers and streams. Library nvfp4::gpu, built where nvcc is. Throws
/// std::runtime_error that says why where there is no such device; its entries do where CUDA fails, as for memory.
const Kernels& gpu_kernels();

}  // namespace nvfp4
