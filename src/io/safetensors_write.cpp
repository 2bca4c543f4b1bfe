#include <algorithm>
#include <cstring>
#include <set>
#include <stdexcept>

#include <nvfp4/io/safetensors.hpp>

#include "json.hpp"
#include "safetensors_header.hpp"
#include "text.hpp"

namespace nvfp4::io {
namespace {

void check_names(std::span<const ArrayInfo> tensors) {
  std::set<std::string> seen;
  for (const ArrayInfo& t : tensors) {
    if (t.name == metadata_key || t.name.find('\0') != std::string::npos || !is_utf8(t.name))
      throw std::invalid_argument("tensor name " + in_quotes(t.name) +
                                  " is reserved, has NUL or is not UTF-8");
    if (!seen.insert(t.name).second) throw std::invalid_argument("two tensors " + in_quotes(t.name));
  }
}

/// Padded with blanks so that the data begins at a multiple of 8.
std::string header_json(std::span<const ArrayInfo> tensors, const Metadata& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[metadata_key] = metadata;
  auto& entries = header.get_ref<nlohmann::ordered_json::object_t&>();  // operator[] looks through all before
  std::uint64_t at = 0;
  for (const ArrayInfo& t : tensors) {
    const std::uint64_t end = at + byte_size(t);
    entries.emplace_back(
        t.name, nlohmann::ordered_json{
                    {"dtype", info(t.type).safetensors}, {"shape", t.shape}, {"data_offsets", {at, end}}});
    at = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace

std::string safetensors_header(std::span<const ArrayInfo> tensors, const Metadata& metadata) {
  check_names(tensors);
  for (const auto& [key, text] : metadata)
    if (!is_utf8(key) || !is_utf8(text))
      throw std::invalid_argument("metadata entry " + in_quotes(key) + " is not UTF-8");
  const std::string json = header_json(tensors, metadata);
  const std::uint64_t length = json.size();
  std::string header(sizeof length, '\0');
  std::memcpy(header.data(), &length, sizeof length);
  return header + json;
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, Overwrite overwrite,
                                     std::vector<ArrayInfo> tensors, const Metadata& metadata)
    : out_(path, overwrite) {
  out_.write(safetensors_header(tensors, metadata));
  for (const ArrayInfo& t : tensors) remaining_ += byte_size(t);
}

void SafetensorsWriter::append(std::span<const std::byte> bytes) {
  if (bytes.size() > remaining_) throw std::logic_error("more bytes than the tensors declared");
  out_.write(bytes);
  remaining_ -= bytes.size();
}

void SafetensorsWriter::finish() {
  if (remaining_) throw std::logic_error(std::to_string(remaining_) + " declared bytes are missing");
  out_.commit();
}

void write_safetensors(const std::string& path, std::span<const ArrayView> arrays, Overwrite overwrite) {
  std::vector<const ArrayView*> order;
  for (const ArrayView& a : arrays) order.push_back(&a);
  std::ranges::stable_sort(order, std::greater(), [](const ArrayView* a) { return info(a->info.type).bits; });
  std::vector<ArrayInfo> declared;
  for (const ArrayView* a : order) declared.push_back(a->info);
  SafetensorsWriter writer(path, overwrite, std::move(declared));
  for (const ArrayView* a : order) writer.append(a->bytes);
  writer.finish();
}

}  // namespace nvfp4::io
