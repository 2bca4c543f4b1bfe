#include <algorithm>
#include <set>
#include <stdexcept>

#include <nvfp4/io/gguf.hpp>

#include "gguf_cursor.hpp"
#include "text.hpp"

namespace nvfp4::io {
namespace {

constexpr std::uint32_t written_version = 3;
constexpr std::uint64_t most_bytes = std::uint64_t{1} << 62;

void check_names(std::span<const GgufTensor> tensors) {
  std::set<std::string_view> seen;
  for (const GgufTensor& t : tensors) {
    if (!is_gguf_name(t.name))
      throw std::invalid_argument("tensor name " + in_quotes(t.name) + " has NUL or is not UTF-8");
    if (!seen.insert(t.name).second) throw std::invalid_argument("two tensors " + in_quotes(t.name));
  }
}

std::uint64_t checked_alignment(const GgufMetadata& metadata) {
  const std::uint64_t alignment = metadata.alignment();
  if (!is_gguf_alignment(alignment))
    throw std::invalid_argument(std::string(gguf_alignment_key) + " " + std::to_string(alignment) +
                                " is no power of two up to 2^24");
  return alignment;
}

void append_tensor(std::string& out, const GgufTensor& t, std::uint64_t offset) {
  append_string(out, t.name);
  append_number(out, static_cast<std::uint32_t>(t.shape.size()));
  std::for_each(t.shape.rbegin(), t.shape.rend(), [&](std::int64_t d) { append_number(out, d); });
  append_number(out, gguf_type(t.type).id);
  append_number(out, offset);
}

}  // namespace

GgufLayout gguf_layout(const GgufMetadata& metadata, std::span<const GgufTensor> tensors) {
  check_names(tensors);
  const std::uint64_t alignment = checked_alignment(metadata);
  GgufLayout layout;
  layout.header = gguf_magic;
  append_number(layout.header, written_version);
  append_number<std::uint64_t>(layout.header, tensors.size());
  append_number<std::uint64_t>(layout.header, metadata.entries().size());
  layout.header += metadata.bytes();
  for (const GgufTensor& t : tensors) {
    append_tensor(layout.header, t, layout.size);
    layout.begins.push_back(layout.size);
    layout.size += gguf_padded(byte_size(array_info(t)), alignment);
    if (layout.size > most_bytes) throw std::overflow_error("more than 2^62 bytes");
  }
  layout.header.resize(gguf_padded(layout.header.size(), alignment));
  for (std::uint64_t& begin : layout.begins) begin += layout.header.size();
  layout.size += layout.header.size();
  return layout;
}

GgufWriter::GgufWriter(const std::string& path, Overwrite overwrite, const GgufMetadata& metadata,
                       std::span<const GgufTensor> tensors)
    : layout_(gguf_layout(metadata, tensors)), out_(path, overwrite) {
  for (const GgufTensor& t : tensors) {
    sizes_.push_back(byte_size(array_info(t)));
    remaining_ += sizes_.back();
  }
  out_.write(layout_.header);
}

void GgufWriter::append(std::span<const std::byte> bytes) {
  if (bytes.size() > remaining_) throw std::logic_error("more bytes than the tensors declared");
  remaining_ -= bytes.size();
  while (!bytes.empty()) {
    const std::uint64_t end = layout_.begins[current_] + sizes_[current_];
    pad_to(layout_.begins[current_]);
    const std::size_t n = std::min<std::uint64_t>(bytes.size(), end - out_.tell());
    out_.write(bytes.first(n));
    bytes = bytes.subspan(n);
    if (out_.tell() == end) ++current_;
  }
}

void GgufWriter::finish() {
  if (remaining_) throw std::logic_error(std::to_string(remaining_) + " declared bytes are missing");
  pad_to(layout_.size);
  out_.commit();
}

void GgufWriter::pad_to(std::uint64_t offset) {
  static constexpr std::byte zeros[4096] = {};
  while (out_.tell() < offset)
    out_.write(std::span(zeros).first(std::min<std::uint64_t>(sizeof zeros, offset - out_.tell())));
}

}  // namespace nvfp4::io
