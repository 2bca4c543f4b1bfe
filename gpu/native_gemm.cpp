#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "cublaslt_gemm.hpp"
#include "device.hpp"
#include "native_gemm.hpp"
#include "native_gemm_sm100.hpp"
#include "native_gemm_sm120.hpp"

namespace nvfp4::gpu {
namespace {

bool fits(const NativeGemm& p) {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();  // of TMA's coordinates
  const auto [least, largest] = std::minmax({p.m, p.n, p.k});
  return least >= 1 && largest <= most && p.k % 32 == 0;
}

void require_aligned(const void* pointer, const char* what) {
  if (!pointer || reinterpret_cast<std::uintptr_t>(pointer) % 16)
    throw std::invalid_argument(std::string("native GEMM: ") + what + " must be aligned to 16 bytes");
}

}  // namespace

std::string_view name(NativeKernel kernel) {
  constexpr std::string_view names[] = {"none", "sm100", "sm120", "cublaslt"};
  return names[static_cast<std::size_t>(kernel)];
}

bool takes(NativeKernel kernel, const NativeGemm& p, int capability) {
  const bool tiled = p.layout == ScaleLayout::tiled_128x4, linear = p.layout == ScaleLayout::linear;
  if (!fits(p)) return false;
  if (kernel == NativeKernel::sm100) return tiled && (capability == 100 || capability == 103);
  if (kernel == NativeKernel::sm120) return capability / 10 == 12 && (tiled || (linear && p.k % 64 == 0));
  if (kernel == NativeKernel::cublaslt)
    return capability >= 100 && tiled && p.n * static_cast<std::int64_t>(size_of(p.out)) % 16 == 0;
  return false;
}

NativeKernel native_kernel(const NativeGemm& p) {
  const int device = capability();
  for (const NativeKernel kernel : {NativeKernel::sm100, NativeKernel::sm120})
    if (takes(kernel, p, device)) return kernel;
  return NativeKernel::none;
}

std::size_t native_gemm_workspace(NativeKernel kernel) {
  return kernel == NativeKernel::cublaslt ? cublaslt_workspace : 0;
}

void native_gemm(NativeKernel kernel, const NativeGemm& p, void* workspace, Stream stream) {
  if (const int device = capability(); !takes(kernel, p, device))
    throw std::invalid_argument("native GEMM: kernel " + std::string(name(kernel)) +
                                " does not take this on sm_" + std::to_string(device));
  require_aligned(p.a, "A"), require_aligned(p.a_scales, "A's scales");
  require_aligned(p.b, "B"), require_aligned(p.b_scales, "B's scales");
  require_aligned(p.d, "D");
  if (kernel == NativeKernel::sm100) return native_gemm_sm100(p, stream);
  if (kernel == NativeKernel::sm120) return native_gemm_sm120(p, stream);
  cublaslt_gemm(p, workspace, stream);
}

}  // namespace nvfp4::gpu
