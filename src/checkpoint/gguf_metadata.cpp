#include "gguf_metadata.hpp"

#include "base64.hpp"

namespace nvfp4 {
namespace {

constexpr std::string_view ours = "nvfp4.", our_metadata = "nvfp4.metadata.";
constexpr const char* entry_name = "gguf";
constexpr const char* file_type_key = "general.file_type";

io::GgufMetadata minimal() {
  io::GgufMetadata metadata;
  metadata.set_text("general.architecture", "unknown");
  metadata.set_u32(io::gguf_alignment_key, 32);
  return metadata;
}

std::string packed(const io::GgufMetadata& metadata) { return base64(io::gguf_layout(metadata, {}).header); }

io::GgufMetadata unpacked(const io::Metadata& metadata) {
  const auto entry = metadata.find(entry_name);
  if (entry == metadata.end()) return minimal();
  constexpr const char* place = "metadata entry 'gguf'";
  const std::optional<std::string> file = from_base64(entry->second);
  if (!file) throw io::FileError(place, "text", "Base64 of a GGUF file", "something else");
  const auto bytes = std::as_bytes(std::span(*file));
  return io::Gguf(io::Bytes({bytes.begin(), bytes.end()}), place).metadata();
}

}  // namespace

void take_gguf_metadata(const io::GgufMetadata& all, Documents& documents, io::Metadata& metadata) {
  io::GgufMetadata others = all;
  for (const io::GgufEntry& entry : all.entries()) {
    const std::optional<std::string> text = all.text(entry.key);
    if (!text || !entry.key.starts_with(ours)) continue;
    const std::string name = entry.key.substr(ours.size());
    if (is_document(name))
      documents[name] = *text;
    else if (entry.key.starts_with(our_metadata))
      metadata[entry.key.substr(our_metadata.size())] = *text;
    else
      continue;
    others.remove(entry.key);
  }
  metadata[entry_name] = packed(others);
}

io::GgufMetadata gguf_metadata(const io::Metadata& metadata) {
  io::GgufMetadata all = unpacked(metadata);
  for (const auto& [name, text] : metadata)
    if (name != entry_name) all.set_text(std::string(is_document(name) ? ours : our_metadata) + name, text);
  return all;
}

void set_gguf_file_type(io::Metadata& metadata, std::uint32_t type) {
  io::GgufMetadata all = unpacked(metadata);
  all.set_u32(file_type_key, type);
  metadata[entry_name] = packed(all);
}

}  // namespace nvfp4
