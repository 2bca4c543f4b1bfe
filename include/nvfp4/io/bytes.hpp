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
  Bytes(std::shared_ptr<const void> owner, std::span<const std::byte> view, bool mapped = false)
      : owner_(std::move(owner)), view_(view), mapped_(mapped) {}

  std::span<const std::byte> view() const { return view_; }
  const std::byte* data() const { return view_.data(); }
  std::size_t size() const { return view_.size(); }
  std::span<const std::uint8_t> u8() const { return {reinterpret_cast<const std::uint8_t*>(data()), size()}; }
  /// offset + size must not exceed size().
  Bytes slice(std::size_t offset, std::size_t size) const {
    return {owner_, view_.subspan(offset, size), mapped_};
  }

  /// They are not wanted soon: those of a mapped file leave this process's memory, and can be read all the same.
  void release() const;

 private:
  std::shared_ptr<const void> owner_;
  std::span<const std::byte> view_;
  bool mapped_ = false;  ///< the file behind them can give them again
};

inline constexpr std::uint64_t spool_limit = std::uint64_t{8} << 30;

/// A regular file is mapped (it must not shrink while mapped); a pipe, and "-" for stdin, is read into
/// memory, `limit` bytes at most. Throws FileError.
Bytes read_bytes(const std::string& path, std::uint64_t limit = spool_limit);

/// 64 lower-case hex digits.
std::string sha256(std::span<const std::byte>);
/// The same of bytes that are not wanted soon: a mapped file of any size passes through memory by pieces.
std::string sha256_by_pieces(const Bytes&);

}  // namespace nvfp4::io
