#pragma once
#include "expand.hpp"
#include "stream.hpp"

namespace nvfp4::gpu {

/// The accumulators of A * transpose(B), a.rows x b.rows, by sm100_nvfp4 on integers, a thread an output: the slow
/// definition that faster kernels are held against. Throws std::invalid_argument where sizes do not fit.
void literal_gemm(const CodedOperand& a, const CodedOperand& b, float* accumulators, Stream);

}  // namespace nvfp4::gpu
