#pragma once
#include <cuda.h>

#include <cstdint>

/// Hopper's copy engine, its barriers and its warpgroup MMA, as PTX has them.
namespace nvfp4::gpu::sm90 {

__device__ inline std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}

__device__ inline std::uint32_t cluster_rank() {
  std::uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

/// Of all threads of all blocks of the cluster.
__device__ inline void cluster_sync() {
  asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}

/// A named barrier, 1 to 15: its phase ends when so many threads have come, those that only arrive included.
template <int threads>
__device__ inline void sync(int barrier) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(threads) : "memory");
}
template <int threads>
__device__ inline void arrive(int barrier) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "n"(threads) : "memory");
}

/// An mbarrier in shared memory. Phases alternate in parity, from 0.
struct Barrier {
  std::uint64_t word;

  __device__ void init(std::uint32_t arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(this)), "r"(arrivals));
  }
  /// One arrival, and `bytes` more that the copy engine will have to write before the phase ends.
  __device__ void arrive_and_expect(std::uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(this)),
                 "r"(bytes)
                 : "memory");
  }
  /// One arrival at the same barrier of block `rank` of the cluster.
  __device__ void arrive_at(std::uint32_t rank) {
    asm volatile(
        "{\n.reg .b32 remote;\n"
        "mapa.shared::cluster.u32 remote, %0, %1;\n"
        "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(shared_address(this)),
        "r"(rank)
        : "memory");
  }
  /// Until the phase of this parity has ended.
  __device__ void wait(std::uint32_t parity) {
    asm volatile(
        "{\n.reg .pred ended;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 ended, [%0], %1;\n"
        "@!ended bra again;\n}" ::"r"(shared_address(this)),
        "r"(parity)
        : "memory");
  }
};

/// Barriers that were just initialised, for the copy engine and the other blocks of the cluster.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/// The box of `map` at `x`, fastest dimension first, to the same place `to`, and its bytes to the same barrier, of each
/// block of the cluster that has a bit in `blocks`.
__device__ inline void load_box(void* to, const CUtensorMap& map, const int (&x)[5], Barrier& full,
                                std::uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
      " [%0], [%1, {%2, %3, %4, %5, %6}], [%7], %8;" ::"r"(shared_address(to)),
      "l"(&map), "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(x[4]), "r"(shared_address(&full)),
      "h"(blocks)
      : "memory");
}
__device__ inline void load_box(void* to, const CUtensorMap& map, const int (&x)[2], Barrier& full) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], "
      "[%4];" ::"r"(shared_address(to)),
      "l"(&map), "r"(x[0]), "r"(x[1]), "r"(shared_address(&full))
      : "memory");
}

/// Until the kernel that this one may overlap is done, and its writes are visible.
__device__ inline void await_previous_kernel() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

template <int registers>
__device__ inline void grow_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
__device__ inline void shrink_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}

/// The matrix descriptor of rows of 128 bytes in the copy engine's 128-byte swizzle, k along the row: 8 rows lie
/// 1024 bytes apart. 16 columns of BF16 further is descriptor + 2, 8 rows further is descriptor + 64.
__device__ inline std::uint64_t descriptor(const void* tile) {
  return (std::uint64_t{shared_address(tile)} >> 4 & 0x3FFF) | std::uint64_t{1} << 16 |
         std::uint64_t{64} << 32 | std::uint64_t{1} << 62;
}

__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

/// Until all committed groups are done.
__device__ inline void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }
/// Right after: else the compiler could read d before.
template <int n>
__device__ inline void pin(float (&d)[n]) {
#pragma unroll
  for (float& value : d) asm volatile("" : "+f"(value)::"memory");
}

#define NVFP4_F8(way, d, i)                                                                            \
  way(d[i]), way(d[i + 1]), way(d[i + 2]), way(d[i + 3]), way(d[i + 4]), way(d[i + 5]), way(d[i + 6]), \
      way(d[i + 7])
#define NVFP4_OUT "=f"
#define NVFP4_IN_OUT "+f"

/// d = a * transpose(b), + d where `accumulate`: 64 x 128 outputs, K = 16 of BF16. Element 4 j + 2 r + c of d is row
/// 16 (warp mod 4) + lane / 4 + 8 r, column 8 j + 2 (lane mod 4) + c.
__device__ inline void wgmma(float (&d)[64], std::uint64_t a, std::uint64_t b, bool accumulate) {
  asm volatile(
      "{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, "
      "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, "
      "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, "
      "%62, %63}, %64, %65, accumulate, 1, 1, 0, 0;\n}"
      : NVFP4_F8(NVFP4_IN_OUT, d, 0), NVFP4_F8(NVFP4_IN_OUT, d, 8), NVFP4_F8(NVFP4_IN_OUT, d, 16),
        NVFP4_F8(NVFP4_IN_OUT, d, 24), NVFP4_F8(NVFP4_IN_OUT, d, 32), NVFP4_F8(NVFP4_IN_OUT, d, 40),
        NVFP4_F8(NVFP4_IN_OUT, d, 48), NVFP4_F8(NVFP4_IN_OUT, d, 56)
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));
}

/// The same of 64 x 64 outputs.
__device__ inline void wgmma(float (&d)[32], std::uint64_t a, std::uint64_t b, bool accumulate) {
  asm volatile(
      "{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, "
      "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, %32, %33, accumulate, 1, 1, 0, 0;\n}"
      : NVFP4_F8(NVFP4_IN_OUT, d, 0), NVFP4_F8(NVFP4_IN_OUT, d, 8), NVFP4_F8(NVFP4_IN_OUT, d, 16),
        NVFP4_F8(NVFP4_IN_OUT, d, 24)
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));
}

/// Of 64 x 16 outputs, not accumulated.
__device__ inline void wgmma(float (&d)[8], std::uint64_t a, std::uint64_t b) {
  asm volatile(
      "{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, 0, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7}, %8, %9, accumulate, 1, 1, 0, 0;\n}"
      : NVFP4_F8(NVFP4_OUT, d, 0)
      : "l"(a), "l"(b));
}

#undef NVFP4_IN_OUT
#undef NVFP4_OUT
#undef NVFP4_F8

}  // namespace nvfp4::gpu::sm90
