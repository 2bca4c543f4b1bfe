#pragma once

struct CUstream_st;

namespace nvfp4::gpu {

/// A cudaStream_t, for headers that know no CUDA. Null is the default stream.
using Stream = CUstream_st*;

}  // namespace nvfp4::gpu
