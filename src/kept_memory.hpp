#pragma once
#include <cstddef>
#include <new>

namespace nvfp4::cpu {

/// Memory that begins a cache line. Large pieces given back are kept, up to 64 MiB in all, for who next asks for as much:
/// to meet fresh pages takes a product of 1024^3 a quarter of its time. Safe from any thread.
void* take_memory(std::size_t bytes);
void give_memory_back(void*, std::size_t bytes);

/// Of numbers written before they are read: they begin without values.
template <class T>
struct KeptMemory {
  using value_type = T;
  KeptMemory() = default;
  template <class U>
  KeptMemory(const KeptMemory<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(take_memory(n * sizeof(T))); }
  void deallocate(T* x, std::size_t n) { give_memory_back(x, n * sizeof(T)); }
  template <class U>
  void construct(U*) {}
  bool operator==(const KeptMemory&) const = default;
};

}  // namespace nvfp4::cpu
