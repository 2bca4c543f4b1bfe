#include <nvfp4/io/safetensors.hpp>

#include <algorithm>
#include <cstring>

#include <nvfp4/io/error.hpp>

#include "npy.hpp"
#include "safetensors_header.hpp"
#include "text.hpp"

namespace nvfp4::io {
namespace {

constexpr std::size_t length_bytes = 8;

std::string_view header_text(const Bytes& bytes, const std::string& file) {
  if (bytes.size() < length_bytes)
    throw FileError(file, "byte 0", "the 8-byte length of a safetensors header",
                    bytes.size() ? "the end of the file" : "an empty file");
  std::uint64_t length;
  std::memcpy(&length, bytes.data(), length_bytes);
  const std::uint64_t most = std::min<std::uint64_t>(bytes.size() - length_bytes, safetensors_header_limit);
  if (length > most)
    throw FileError(file, "byte 0", "a safetensors header of at most " + std::to_string(most) + " bytes",
                    std::to_string(length));
  return {reinterpret_cast<const char*>(bytes.data()) + length_bytes, length};
}

void check_size(const DeclaredTensor& t, const std::string& file) {
  const std::string place = "tensor " + in_quotes(t.info.name);
  if (t.begin > t.end)
    throw FileError(file, place, "data_offsets in order", tuple_text(std::vector{t.begin, t.end}));
  std::uint64_t size;
  try {
    size = byte_size(t.info);
  } catch (const std::exception& e) {
    throw FileError(file, place, "a size that fits", e.what());
  }
  if (t.end - t.begin != size)
    throw FileError(file, place,
                    std::to_string(size) + " bytes for " + std::string(info(t.info.type).safetensors) + " " +
                        tuple_text(t.info.shape),
                    std::to_string(t.end - t.begin));
}

/// The format allows neither holes nor overlaps: in order of offset, each begins where the last one ended.
void check_tiling(const std::vector<DeclaredTensor>& tensors, std::uint64_t data_size,
                  const std::string& file) {
  std::uint64_t at = 0;
  for (const DeclaredTensor& t : tensors) {
    const std::string place = "tensor " + in_quotes(t.info.name);
    if (t.begin != at)
      throw FileError(file, place, "data from byte " + std::to_string(at),
                      "byte " + std::to_string(t.begin) + (t.begin < at ? ", an overlap" : ", a hole"));
    if (t.end > data_size)
      throw FileError(file, place, "data within " + std::to_string(data_size) + " bytes",
                      "an end at " + std::to_string(t.end));
    at = t.end;
  }
  if (at != data_size)
    throw FileError(file, "data byte " + std::to_string(at), "the end of the file",
                    std::to_string(data_size - at) + " more bytes");
}

}  // namespace

Safetensors::Safetensors(Bytes bytes, std::string file)
    : ArrayFile(std::move(file)), bytes_(std::move(bytes)) {
  const std::string_view text = header_text(bytes_, file_);
  SafetensorsHeader header = parse_safetensors_header(text, file_);
  metadata_ = std::move(header.metadata);
  for (const DeclaredTensor& t : header.tensors) check_size(t, file_);
  std::ranges::stable_sort(header.tensors, {},
                           [](const DeclaredTensor& t) { return std::pair(t.begin, t.end); });
  const std::size_t data = length_bytes + text.size();
  check_tiling(header.tensors, bytes_.size() - data, file_);
  for (DeclaredTensor& t : header.tensors) {
    places_[t.info.name] = {tensors_.size(), data + t.begin, t.end - t.begin};
    tensors_.push_back(std::move(t.info));
  }
}

std::vector<std::string> Safetensors::names() const {
  std::vector<std::string> all;
  for (const ArrayInfo& t : tensors_) all.push_back(t.name);
  return all;
}

const Safetensors::Place& Safetensors::place(std::string_view name) const {
  const auto found = places_.find(name);
  if (found == places_.end()) refuse_name(name);
  return found->second;
}

ArrayInfo Safetensors::info(std::string_view name) const { return tensors_[place(name).index]; }

Array Safetensors::read(std::string_view name) const {
  const Place& p = place(name);
  const ArrayInfo& tensor = tensors_[p.index];
  return {tensor, aligned(bytes_.slice(p.offset, p.size), tensor.type), file_};
}

}  // namespace nvfp4::io
