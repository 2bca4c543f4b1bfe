#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include <nvfp4/io/gguf_metadata.hpp>

namespace nvfp4::io {

inline constexpr std::string_view gguf_magic = "GGUF";
inline constexpr std::size_t gguf_max_rank = 4;  ///< GGML_MAX_DIMS

bool is_gguf(std::span<const std::byte> beginning);

/// Walks a GGUF header; nothing is read beyond its bytes.
class GgufCursor {
 public:
  GgufCursor(std::span<const std::byte> bytes, const std::string& file)
      : text_(reinterpret_cast<const char*>(bytes.data()), bytes.size()), file_(file) {}

  /// What the next bytes are, for messages: "tensor 3".
  void enter(std::string about) { about_ = std::move(about); }
  std::size_t tell() const { return at_; }
  std::string_view since(std::size_t begin) const { return text_.substr(begin, at_ - begin); }

  template <class T>
  T read() {
    T value;
    std::memcpy(&value, take(1, sizeof value).data(), sizeof value);
    return value;
  }
  /// A length in 8 bytes, and as many bytes.
  std::string_view string() { return take(read<std::uint64_t>(), 1); }
  /// Throws FileError where the file ends before.
  std::string_view take(std::uint64_t count, std::size_t size);
  [[noreturn]] void refuse(std::string_view expected, std::string_view found) const;

 private:
  std::string_view text_;
  const std::string& file_;
  std::string about_;
  std::size_t at_ = 0;
};

/// `count` keys and their values. Throws FileError, also for an alignment that no data can have.
GgufMetadata read_gguf_metadata(GgufCursor&, std::uint64_t count);

/// Whether tensors' data may be aligned so: a power of two. The bound keeps what a header may ask for in zeros small.
bool is_gguf_alignment(std::uint64_t);

/// The first multiple of `alignment` from `at` on.
constexpr std::uint64_t gguf_padded(std::uint64_t at, std::uint64_t alignment) {
  return (at + alignment - 1) / alignment * alignment;
}

/// Whether a tensor or key may have this name: UTF-8 without NUL.
bool is_gguf_name(std::string_view);

/// A file's text for a number or a string.
template <class T>
void append_number(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void append_string(std::string& out, std::string_view text);

}  // namespace nvfp4::io
