#pragma once
#include "bulk_memory.cuh"

namespace nvfp4::gpu {

/// What sm100::multiply_block needs of a machine but store, and probe_sm100::multiply_tile: tcgen05, of sm_100a and sm_103a.
struct TensorMemory : BulkMemory {
  using BulkMemory::BulkMemory;

  __device__ void allocate(std::uint32_t at, std::uint32_t columns) {
    asm volatile("tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%0], %1;" ::"r"(base + at),
                 "r"(columns)
                 : "memory");
    asm volatile("tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned;" ::: "memory");
  }
  __device__ void free(std::uint32_t memory, std::uint32_t columns) {
    asm volatile("tcgen05.dealloc.cta_group::1.sync.aligned.b32 %0, %1;" ::"r"(memory), "r"(columns)
                 : "memory");
  }
  __device__ void before_sync() { asm volatile("tcgen05.fence::before_thread_sync;" ::: "memory"); }
  __device__ void after_sync() { asm volatile("tcgen05.fence::after_thread_sync;" ::: "memory"); }
  __device__ void copy_scales(std::uint32_t column, std::uint64_t from) {
    asm volatile("tcgen05.cp.cta_group::1.32x128b.warpx4 [%0], %1;" ::"r"(column), "l"(from) : "memory");
  }
  __device__ void mma(std::uint32_t d, std::uint64_t a, std::uint64_t b, std::uint32_t instruction,
                      std::uint32_t a_scales, std::uint32_t b_scales, bool add) {
    asm volatile(
        "{ .reg .pred p; setp.ne.b32 p, %6, 0;\n"
        "tcgen05.mma.cta_group::1.kind::mxf4nvf4.block_scale.block16 [%0], %1, %2, %3, [%4], [%5], p; }" ::
            "r"(d),
        "l"(a), "l"(b), "r"(instruction), "r"(a_scales), "r"(b_scales), "r"(static_cast<int>(add))
        : "memory");
  }
  __device__ void commit(std::uint32_t barrier) {
    asm volatile(
        "tcgen05.commit.cta_group::1.mbarrier::arrive::one.shared::cluster.b64 [%0];" ::"r"(base + barrier)
        : "memory");
  }
  __device__ void load32(std::uint32_t from, float (&x)[32]) {
    __syncwarp();  // lanes leave a wait one by one
    asm volatile(
        "tcgen05.ld.sync.aligned.32x32b.x32.b32 "
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, [%32];\n"
        "tcgen05.wait::ld.sync.aligned;"
        : "=f"(x[0]), "=f"(x[1]), "=f"(x[2]), "=f"(x[3]), "=f"(x[4]), "=f"(x[5]), "=f"(x[6]), "=f"(x[7]),
          "=f"(x[8]), "=f"(x[9]), "=f"(x[10]), "=f"(x[11]), "=f"(x[12]), "=f"(x[13]), "=f"(x[14]),
          "=f"(x[15]), "=f"(x[16]), "=f"(x[17]), "=f"(x[18]), "=f"(x[19]), "=f"(x[20]), "=f"(x[21]),
          "=f"(x[22]), "=f"(x[23]), "=f"(x[24]), "=f"(x[25]), "=f"(x[26]), "=f"(x[27]), "=f"(x[28]),
          "=f"(x[29]), "=f"(x[30]), "=f"(x[31])
        : "r"(from)
        : "memory");
  }

  __device__ void write(std::uint32_t at, std::uint32_t word) {
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(base + at), "r"(word) : "memory");
  }
  /// What threads wrote is seen by tcgen05 from the next barrier on.
  __device__ void fence_writes() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
  __device__ void set(std::uint32_t at, std::uint32_t x) {
    asm volatile("tcgen05.st.sync.aligned.32x32b.x1.b32 [%0], {%1};" ::"r"(at), "r"(x) : "memory");
  }
  __device__ void wait_sets() { asm volatile("tcgen05.wait::st.sync.aligned;" ::: "memory"); }
};

}  // namespace nvfp4::gpu
