#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nvfp4::io {

/// A value's type, by GGUF's own number.
enum class GgufValue : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64,
};

struct GgufEntry {
  std::string key;
  GgufValue type = GgufValue::u8;
  std::string bytes;  ///< the value as it lies in the file, after its type
  friend bool operator==(const GgufEntry&, const GgufEntry&) = default;
};

inline constexpr std::string_view gguf_alignment_key = "general.alignment";

/// A GGUF file's keys and values, in its order and bit for bit.
class GgufMetadata {
 public:
  std::span<const GgufEntry> entries() const { return entries_; }
  bool contains(std::string_view key) const { return find(key) != nullptr; }

  /// None where there is no such key, or its value is no string; perhaps not UTF-8.
  std::optional<std::string> text(std::string_view key) const;
  /// None where there is no such key, or its value is no integer or below 0.
  std::optional<std::uint64_t> number(std::string_view key) const;
  /// Of the tensors' data: general.alignment, or 32.
  std::uint64_t alignment() const;

  /// In the place of the key's value; a new key stands last. Throws std::invalid_argument for a key that is empty,
  /// has NUL or is not UTF-8, and for bytes that are no value of the type.
  void set(GgufEntry);
  void set_text(std::string_view key, std::string_view value);
  void set_u32(std::string_view key, std::uint32_t value);
  void remove(std::string_view key);

  /// The key-value section of a file.
  std::string bytes() const;

  friend bool operator==(const GgufMetadata&, const GgufMetadata&) = default;

 private:
  friend GgufMetadata read_gguf_metadata(class GgufCursor&, std::uint64_t count);
  const GgufEntry* find(std::string_view key) const;

  std::vector<GgufEntry> entries_;
};

}  // namespace nvfp4::io
