#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "src/kept_memory.hpp"

using nvfp4::cpu::give_memory_back, nvfp4::cpu::take_memory;

namespace {

#ifndef __has_feature  // clang's; GCC says it by a macro
#define __has_feature(x) 0
#endif
#if __has_feature(address_sanitizer) || defined(__SANITIZE_ADDRESS__)
constexpr bool keeps_what_is_freed = true;
#else
constexpr bool keeps_what_is_freed = false;
#endif

constexpr std::size_t mib = 1 << 20;

/// Of this process; 0: unknown.
std::size_t resident_bytes() {
  std::size_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

TEST_CASE("kept memory: a piece given back is the next one of its size") {
  void* const piece = take_memory(mib);
  CHECK(reinterpret_cast<std::uintptr_t>(piece) % 64 == 0);
  std::memset(piece, 7, mib);
  give_memory_back(piece, mib);
  void* const other = take_memory(mib + 64);
  CHECK(other != piece);
  void* const again = take_memory(mib);
  CHECK(again == piece);
  CHECK(static_cast<const char*>(again)[mib / 2] == 7);  // kept, not only found again by the allocator
  give_memory_back(again, mib);
  give_memory_back(other, mib + 64);
}

TEST_CASE("kept memory: of large pieces given back no more than 64 MiB stay") {
  const std::size_t before = resident_bytes();
  if (before == 0 || keeps_what_is_freed) {
    std::puts("not run: memory that tells what was freed");
    return;
  }
  void* pieces[3];
  for (void*& piece : pieces) std::memset(piece = take_memory(40 * mib), 1, 40 * mib);
  CHECK(resident_bytes() >= before + 100 * mib);
  for (void* piece : pieces) give_memory_back(piece, 40 * mib);
  CHECK(resident_bytes() <= before + 64 * mib);
}
