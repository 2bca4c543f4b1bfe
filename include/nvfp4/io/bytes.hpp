#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace nvfp4::io {

/// Bytes that do not change: a memory-mapped file, a buffer, or a part of either. Copies share them.
class Bytes {
 public:
  Bytes() = default;
  explicit Bytes(std::vector<std::byte> buffer);
  Bytes(std::shared_ptr<const void> owner, std::span<const std::byte> view)
      : owner_(std::move(owner)), view_(view) {}

  std::span<const std::byte> view() const { return view_; }
  const std::byte* data() const { return view_.data(); }
  std::size_t size() const { return view_.size(); }
  /// offset + size must not exceed size().
  Bytes slice(std::size_t offset, std::size_t size) const { return {owner_, view_.subspan(offset, size)}; }

 private:
  std::shared_ptr<const void> owner_;
  std::span<const std::byte> view_;
};

inline constexpr std::uint64_t spool_limit = std::uint64_t{8} << 30;

/// A regular file is mapped (it must not shrink while mapped); a pipe, and "-" for stdin, is read into
/// memory, `limit` bytes at most. Throws FileError.
Bytes read_bytes(const std::string& path, std::uint64_t limit = spool_limit);

/// 64 lower-case hex digits.
std::string sha256(std::span<const std::byte>);

}  // namespace nvfp4::io
