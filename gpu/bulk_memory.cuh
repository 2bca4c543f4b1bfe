#pragma once
#include <cuda.h>

#include <cstdint>

namespace nvfp4::gpu {

/// The shared memory that sm100::multiply_block needs of a machine: bulk copies and the barriers that count their bytes,
/// of sm_90 and later.
struct BulkMemory {
  static constexpr std::uint32_t swizzle_group =
      1024;  ///< shared memory begins at a multiple; reserve as much more

  const CUtensorMap &a_map, &b_map;
  std::uint32_t base = start();

  __device__ BulkMemory(const CUtensorMap& a, const CUtensorMap& b) : a_map(a), b_map(b) {}

  __device__ int thread() const { return threadIdx.x; }
  __device__ std::uint32_t address(std::uint32_t at) const { return base + at; }
  __device__ void sync() {
    __syncwarp();  // the loader and the issuer come later than the rest of their warps
    __syncthreads();
  }
  __device__ std::uint32_t word(std::uint32_t at) const {
    std::uint32_t x;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x) : "r"(base + at) : "memory");
    return x;
  }

  __device__ void barrier_init(std::uint32_t at, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(base + at), "r"(arrivals) : "memory");
  }
  /// Makes initialised barriers visible to bulk copies.
  __device__ void fence_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
  __device__ void expect(std::uint32_t at, std::uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(base + at), "r"(bytes)
                 : "memory");
  }
  __device__ void wait(std::uint32_t at, std::uint32_t parity) {
    std::uint32_t passed = 0;
    while (!passed)
      asm volatile(
          "{ .reg .pred p;\n"
          "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
          : "=r"(passed)
          : "r"(base + at), "r"(parity)
          : "memory");
  }

  __device__ void load_box(std::uint32_t to, bool of_a, std::int64_t byte, std::int64_t row,
                           std::uint32_t barrier) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
        "%3}], [%4];"
        :
        : "r"(base + to), "l"(of_a ? &a_map : &b_map), "r"(static_cast<int>(byte)),
          "r"(static_cast<int>(row)), "r"(base + barrier)
        : "memory");
  }
  __device__ void copy(std::uint32_t to, const std::uint8_t* from, std::uint32_t bytes,
                       std::uint32_t barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 :
                 : "r"(base + to), "l"(from), "r"(bytes), "r"(base + barrier)
                 : "memory");
  }

 private:
  static __device__ std::uint32_t start() {
    extern __shared__ std::uint8_t bulk_shared[];
    const auto first = static_cast<std::uint32_t>(__cvta_generic_to_shared(bulk_shared));
    return (first + swizzle_group - 1) & ~(swizzle_group - 1);
  }
};

}  // namespace nvfp4::gpu
