#pragma once

namespace nvfp4 {

/// The GPU instruction rcp.approx.ftz.f32, bit for bit as measured on an NVIDIA H200 (measured/README.md). It is not
/// correctly rounded: one significand in seven is an ulp off. Subnormal arguments and results are signed
/// zeros, 1/0 is Inf, NaN gives 0x7FFFFFFF. That Blackwell gives the same bits is an assumption.
float rcp_approx_ftz(float);

}  // namespace nvfp4
