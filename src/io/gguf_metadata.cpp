#include <nvfp4/io/gguf_metadata.hpp>

#include <algorithm>
#include <bit>
#include <set>
#include <stdexcept>

#include <nvfp4/io/error.hpp>

#include "gguf_cursor.hpp"
#include "text.hpp"

namespace nvfp4::io {
namespace {

constexpr std::uint64_t default_alignment = 32, most_alignment = std::uint64_t{1} << 24;
constexpr int deepest_array = 8;

/// Bytes of a value in the order of GgufValue; 0 where each value has its own.
constexpr std::size_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

GgufValue read_type(GgufCursor& cursor) {
  const auto type = cursor.read<std::uint32_t>();
  if (type >= std::size(sizes)) cursor.refuse("a value's type, 0 to 12", std::to_string(type));
  return static_cast<GgufValue>(type);
}

void skip_values(GgufCursor& cursor, GgufValue type, std::uint64_t count, int depth) {
  if (const std::size_t size = sizes[static_cast<std::size_t>(type)]) {
    cursor.take(count, size);
  } else if (type == GgufValue::string) {
    for (std::uint64_t i = 0; i < count; ++i) cursor.string();
  } else {
    if (depth == deepest_array) cursor.refuse("arrays at most 8 deep", "a deeper one");
    for (std::uint64_t i = 0; i < count; ++i) {
      const GgufValue element = read_type(cursor);
      skip_values(cursor, element, cursor.read<std::uint64_t>(), depth + 1);
    }
  }
}

GgufEntry read_entry(GgufCursor& cursor, std::uint64_t index) {
  cursor.enter("key " + std::to_string(index));
  GgufEntry entry{std::string(cursor.string()), {}, {}};
  if (entry.key.empty() || !is_gguf_name(entry.key))
    cursor.refuse("a key in UTF-8 without NUL", in_quotes(entry.key));
  cursor.enter("key " + in_quotes(entry.key));
  entry.type = read_type(cursor);
  const std::size_t begin = cursor.tell();
  skip_values(cursor, entry.type, 1, 0);
  entry.bytes = cursor.since(begin);
  return entry;
}

template <class T>
std::optional<std::uint64_t> integer(const std::string& bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  if (value < T{0}) return std::nullopt;
  return static_cast<std::uint64_t>(value);
}

template <class T>
std::string bytes_of(T value) {
  std::string bytes;
  append_number(bytes, value);
  return bytes;
}

void check_alignment(const GgufMetadata& metadata, GgufCursor& cursor) {
  if (!metadata.contains(gguf_alignment_key)) return;
  cursor.enter("key " + in_quotes(gguf_alignment_key));
  const std::optional<std::uint64_t> alignment = metadata.number(gguf_alignment_key);
  if (!alignment || !is_gguf_alignment(*alignment))
    cursor.refuse("a power of two up to 2^24", alignment ? std::to_string(*alignment) : "no whole number");
}

}  // namespace

bool is_gguf_alignment(std::uint64_t alignment) {
  return std::has_single_bit(alignment) && alignment <= most_alignment;
}

bool is_gguf_name(std::string_view name) { return name.find('\0') == name.npos && is_utf8(name); }

void append_string(std::string& out, std::string_view text) {
  append_number<std::uint64_t>(out, text.size());
  out += text;
}

GgufMetadata read_gguf_metadata(GgufCursor& cursor, std::uint64_t count) {
  GgufMetadata metadata;
  std::set<std::string> seen;
  for (std::uint64_t i = 0; i < count; ++i) {
    GgufEntry entry = read_entry(cursor, i);
    if (!seen.insert(entry.key).second) cursor.refuse("one of that name", "two");
    metadata.entries_.push_back(std::move(entry));
  }
  check_alignment(metadata, cursor);
  return metadata;
}

const GgufEntry* GgufMetadata::find(std::string_view key) const {
  const auto found = std::ranges::find(entries_, key, &GgufEntry::key);
  return found == entries_.end() ? nullptr : &*found;
}

std::optional<std::string> GgufMetadata::text(std::string_view key) const {
  const GgufEntry* entry = find(key);
  if (!entry || entry->type != GgufValue::string) return std::nullopt;
  return entry->bytes.substr(sizeof(std::uint64_t));
}

std::optional<std::uint64_t> GgufMetadata::number(std::string_view key) const {
  const GgufEntry* entry = find(key);
  switch (entry ? entry->type : GgufValue::string) {
    case GgufValue::u8: return integer<std::uint8_t>(entry->bytes);
    case GgufValue::i8: return integer<std::int8_t>(entry->bytes);
    case GgufValue::u16: return integer<std::uint16_t>(entry->bytes);
    case GgufValue::i16: return integer<std::int16_t>(entry->bytes);
    case GgufValue::u32: return integer<std::uint32_t>(entry->bytes);
    case GgufValue::i32: return integer<std::int32_t>(entry->bytes);
    case GgufValue::u64: return integer<std::uint64_t>(entry->bytes);
    case GgufValue::i64: return integer<std::int64_t>(entry->bytes);
    default: return std::nullopt;
  }
}

std::uint64_t GgufMetadata::alignment() const {
  return number(gguf_alignment_key).value_or(default_alignment);
}

void GgufMetadata::set(GgufEntry entry) {
  GgufMetadata alone;
  alone.entries_.push_back(entry);
  const std::string text = alone.bytes(), nowhere;
  try {
    GgufCursor cursor(std::as_bytes(std::span(text)), nowhere);
    if (read_entry(cursor, 0) != entry || cursor.tell() != text.size())
      throw std::invalid_argument("key " + in_quotes(entry.key) + ": bytes beyond a value of its type");
  } catch (const FileError& e) {
    throw std::invalid_argument(e.what());
  }
  if (const GgufEntry* old = find(entry.key))
    entries_[static_cast<std::size_t>(old - entries_.data())] = std::move(entry);
  else
    entries_.push_back(std::move(entry));
}

void GgufMetadata::set_text(std::string_view key, std::string_view value) {
  GgufEntry entry{std::string(key), GgufValue::string, {}};
  append_string(entry.bytes, value);
  set(std::move(entry));
}

void GgufMetadata::set_u32(std::string_view key, std::uint32_t value) {
  set({std::string(key), GgufValue::u32, bytes_of(value)});
}

void GgufMetadata::remove(std::string_view key) {
  std::erase_if(entries_, [&](const GgufEntry& entry) { return entry.key == key; });
}

std::string GgufMetadata::bytes() const {
  std::string all;
  for (const GgufEntry& entry : entries_) {
    append_string(all, entry.key);
    append_number(all, static_cast<std::uint32_t>(entry.type));
    all += entry.bytes;
  }
  return all;
}

}  // namespace nvfp4::io
