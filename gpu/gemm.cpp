#include "gemm.hpp"

#include "chain_gemm_sm90.hpp"
#include "device.hpp"

namespace nvfp4::gpu {
namespace {

std::int64_t aligned(std::int64_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace

std::int64_t gemm_bytes(std::int64_t m, std::int64_t n, std::int64_t k) {
  return aligned(expand_bytes(m, k)) + aligned(expand_bytes(n, k)) + chain_gemm_bytes(m, n);
}

void gemm(const Gemm& g, void* workspace, Stream stream, bool portable) {
  auto* a = static_cast<std::byte*>(workspace);
  std::byte* b = a + aligned(expand_bytes(g.a.rows, g.a.k));
  std::byte* rest = b + aligned(expand_bytes(g.b.rows, g.b.k));
  EmulatedGemm product{.a = expand(g.a, a, stream),
                       .b = expand(g.b, b, stream),
                       .d = g.d,
                       .out = g.out,
                       .alpha = g.alpha,
                       .counts = g.counts};
  if (portable || capability() != 90) return emulated_gemm(product, stream);
  const TileList left = chain_gemm_sm90(product, rest, stream);
  product.tiles = &left;
  emulated_gemm(product, stream);
}

}  // namespace nvfp4::gpu
