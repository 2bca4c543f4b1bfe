#include "gemm.hpp"

#include <algorithm>

#include "chain_gemm_sm90.hpp"
#include "device.hpp"
#include "native_gemm.hpp"
#include "tiled_scales.hpp"

namespace nvfp4::gpu {
namespace {

std::int64_t aligned(std::int64_t bytes) { return (bytes + 255) / 256 * 256; }

std::int64_t tiled_bytes(std::int64_t rows, std::int64_t k) {
  return (rows + 127) / 128 * ((k + 63) / 64) * 512;
}

/// With scales to be tiled into the workspace.
NativeGemm native(const Gemm& g, void* workspace) {
  auto* scales = static_cast<std::uint8_t*>(workspace);
  return {.m = g.a.rows,
          .n = g.b.rows,
          .k = g.a.k,
          .a = g.a.codes,
          .b = g.b.codes,
          .a_scales = scales,
          .b_scales = scales + tiled_bytes(g.a.rows, g.a.k),
          .alpha = g.alpha,
          .d = g.d,
          .out = g.out};
}

void run_native(const Gemm& g, void* workspace, Stream stream) {
  const NativeGemm product = native(g, workspace);
  auto* scales = static_cast<std::uint8_t*>(workspace);
  tile_scales(g.a.scales, g.a.rows, (g.a.k + 15) / 16, scales, stream);
  tile_scales(g.b.scales, g.b.rows, (g.b.k + 15) / 16, scales + tiled_bytes(g.a.rows, g.a.k), stream);
  native_gemm(native_kernel(product), product, nullptr, stream);
}

void emulate(const Gemm& g, bool by_wgmma, void* workspace, Stream stream) {
  auto* a = static_cast<std::byte*>(workspace);
  std::byte* b = a + aligned(expand_bytes(g.a.rows, g.a.k));
  std::byte* rest = b + aligned(expand_bytes(g.b.rows, g.b.k));
  EmulatedGemm product{.a = expand(g.a, a, stream),
                       .b = expand(g.b, b, stream),
                       .d = g.d,
                       .out = g.out,
                       .alpha = g.alpha,
                       .counts = g.counts};
  if (!by_wgmma) return emulated_gemm(product, stream);
  const TileList left = chain_gemm_sm90(product, rest, stream);
  product.tiles = &left;
  emulated_gemm(product, stream);
}

}  // namespace

std::int64_t gemm_bytes(std::int64_t m, std::int64_t n, std::int64_t k) {
  const std::int64_t emulated =
      aligned(expand_bytes(m, k)) + aligned(expand_bytes(n, k)) + chain_gemm_bytes(m, n);
  return std::max(emulated, tiled_bytes(m, k) + tiled_bytes(n, k));
}

bool is_native(const Gemm& g) { return native_kernel(native(g, nullptr)) != NativeKernel::none; }

void gemm(const Gemm& g, Engine engine, void* workspace, Stream stream) {
  if (engine == Engine::native && g.a.k == g.b.k && is_native(g)) return run_native(g, workspace, stream);
  emulate(g, engine != Engine::mma_sync && capability() == 90, workspace, stream);
}

}  // namespace nvfp4::gpu
