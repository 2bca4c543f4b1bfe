#pragma once
#include <nvfp4/dialects/all.hpp>

namespace nvfp4::gpu {

/// The dialects of quantize_rows() and dequantize_rows().
using FastDialects = DialectList<dialects::te, dialects::te_rht_fused, dialects::te_4over6, dialects::vllm,
                                 dialects::flashinfer, dialects::flashinfer_per_token>;

}  // namespace nvfp4::gpu
