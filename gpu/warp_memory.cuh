#pragma once
#include <cstdint>

namespace nvfp4::gpu {

/// What sm120::multiply_block needs of a machine but mma and store: the instructions of sm_80 and later.
struct WarpMemory {
  std::uint32_t base = start();

  __device__ int thread() const { return threadIdx.x; }
  __device__ void sync() { __syncthreads(); }
  __device__ void copy16(std::uint32_t to, const void* from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(base + to), "l"(from), "r"(bytes)
                 : "memory");
  }
  __device__ void copy4(std::uint32_t to, const void* from, int bytes) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(base + to), "l"(from), "r"(bytes)
                 : "memory");
  }
  __device__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
  template <int groups>
  __device__ void wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
  }
  __device__ void ldmatrix(std::uint32_t at, std::uint32_t (&regs)[4]) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(regs[0]), "=r"(regs[1]), "=r"(regs[2]), "=r"(regs[3])
                 : "r"(base + at)
                 : "memory");
  }
  __device__ void load16(std::uint32_t at, std::uint32_t (&words)[4]) {
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(base + at)
                 : "memory");
  }

 private:
  static __device__ std::uint32_t start() {
    extern __shared__ __align__(128) std::uint8_t warp_shared[];
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(warp_shared));
  }
};

}  // namespace nvfp4::gpu
