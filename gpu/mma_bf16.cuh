#pragma once
#include <cstdint>

/// mma.sync m16n8k16 of BF16 and what brings its operands from rows of 64 values in shared memory (sm_80 and later).
namespace nvfp4::gpu {

using FragmentA = std::uint32_t[4];
using FragmentB = std::uint32_t[2];
using FragmentC = float[4];

/// d = a * b + c
__device__ __forceinline__ void mma(FragmentC& d, const FragmentA& a, const FragmentB& b,
                                    const FragmentC& c) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %11, %12, %13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]),
        "f"(c[3]));
}

/// Four 8 x 8 matrices, of which lane l gives the address of row l mod 8 of matrix l / 8.
__device__ __forceinline__ void load_matrices(std::uint32_t& r0, std::uint32_t& r1, std::uint32_t& r2,
                                              std::uint32_t& r3, std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r0), "=r"(r1), "=r"(r2), "=r"(r3)
               : "r"(address)
               : "memory");
}

/// 16 bytes to shared memory, past L1.
__device__ __forceinline__ void copy_async(std::uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int pending>
__device__ __forceinline__ void await_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

}  // namespace nvfp4::gpu
