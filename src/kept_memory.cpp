#include "kept_memory.hpp"

#include <algorithm>
#include <array>
#include <mutex>

namespace nvfp4::cpu {
namespace {

constexpr std::align_val_t cache_line{64};
constexpr std::size_t large = 64 << 10, most = 64 << 20, most_pieces = 16;

/// Pieces for exactly as many bytes, the longest unused first.
class Pieces {
 public:
  ~Pieces() {
    while (count_) drop_first();
  }

  void* take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    const auto last = pieces_.begin() + count_,
               found = std::find_if(pieces_.begin(), last, [&](const Piece&p) { return p.bytes == bytes; });
    if (found == last) return nullptr;
    void* const memory = found->memory;
    remove(found);
    return memory;
  }

  void keep(void* memory, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (count_ == std::ssize(pieces_)) drop_first();
    pieces_[static_cast<std::size_t>(count_++)] = {memory, bytes};
    for (kept_ += bytes; kept_ > most;) drop_first();
  }

 private:
  struct Piece {
    void* memory;
    std::size_t bytes;
  };
  using All = std::array<Piece, most_pieces>;

  void remove(All::iterator piece) {
    kept_ -= piece->bytes;
    std::move(piece + 1, pieces_.begin() + count_--, piece);
  }
  void drop_first() {
    ::operator delete(pieces_.front().memory, cache_line);
    remove(pieces_.begin());
  }

  std::mutex mutex_;
  All pieces_;
  std::ptrdiff_t count_ = 0;
  std::size_t kept_ = 0;
};

Pieces& pieces() {
  static Pieces all;
  return all;
}

}  // namespace

void* take_memory(std::size_t bytes) {
  void* const kept = bytes < large ? nullptr : pieces().take(bytes);
  return kept ? kept : ::operator new(bytes, cache_line);
}

void give_memory_back(void* memory, std::size_t bytes) {
  if (bytes < large)
    ::operator delete(memory, cache_line);
  else
    pieces().keep(memory, bytes);
}

}  // namespace nvfp4::cpu
