#include <nvfp4/io/gguf.hpp>

#include <algorithm>
#include <exception>

#include <nvfp4/io/error.hpp>

#include "gguf_cursor.hpp"
#include "npy.hpp"
#include "text.hpp"

namespace nvfp4::io {
namespace {

struct DeclaredGgufTensor {
  GgufTensor tensor;
  std::uint64_t offset = 0, size = 0;
};

void check_magic(GgufCursor& cursor, std::span<const std::byte> bytes) {
  if (!is_gguf(bytes)) {
    const std::string_view first(reinterpret_cast<const char*>(bytes.data()),
                                 std::min<std::size_t>(4, bytes.size()));
    cursor.refuse("'GGUF'", in_quotes(first));
  }
  cursor.take(gguf_magic.size(), 1);
  const auto version = cursor.read<std::uint32_t>();
  if (version != 2 && version != 3)
    cursor.refuse("GGUF version 2 or 3", version & 0xFFFF ? std::to_string(version) : "a big-endian file");
}

std::string_view read_type(GgufCursor& cursor) {
  const auto id = cursor.read<std::uint32_t>();
  const auto types = gguf_types();
  const auto found = std::ranges::find(types, id, &GgufType::id);
  if (found == types.end()) cursor.refuse("a type that this library knows", "type id " + std::to_string(id));
  return found->name;
}

DeclaredGgufTensor read_tensor(GgufCursor& cursor, std::uint64_t index) {
  cursor.enter("tensor " + std::to_string(index));
  DeclaredGgufTensor declared;
  GgufTensor& tensor = declared.tensor;
  tensor.name = cursor.string();
  if (!is_gguf_name(tensor.name)) cursor.refuse("a name in UTF-8 without NUL", in_quotes(tensor.name));
  cursor.enter("tensor " + in_quotes(tensor.name));
  const auto rank = cursor.read<std::uint32_t>();
  if (rank > gguf_max_rank) cursor.refuse("at most 4 dimensions", std::to_string(rank));
  for (std::uint32_t d = 0; d < rank; ++d) tensor.shape.push_back(cursor.read<std::int64_t>());
  std::ranges::reverse(tensor.shape);
  tensor.type = read_type(cursor);
  declared.offset = cursor.read<std::uint64_t>();
  try {
    declared.size = byte_size(array_info(tensor));
  } catch (const std::exception& e) {
    cursor.refuse("a size that fits", e.what());
  }
  return declared;
}

void check_place(const DeclaredGgufTensor& t, std::uint64_t alignment, std::uint64_t data_size,
                 const std::string& file) {
  const std::string place = "tensor " + in_quotes(t.tensor.name);
  if (t.offset % alignment)
    throw FileError(file, place, "an offset that is a multiple of " + std::to_string(alignment),
                    std::to_string(t.offset));
  if (t.offset > data_size || t.size > data_size - t.offset)
    throw FileError(file, place, "data within " + std::to_string(data_size) + " bytes",
                    std::to_string(t.size) + " bytes from byte " + std::to_string(t.offset));
}

void check_overlaps(const std::vector<DeclaredGgufTensor>& declared, const std::string& file) {
  std::vector<const DeclaredGgufTensor*> tensors;
  for (const DeclaredGgufTensor& t : declared)
    if (t.size) tensors.push_back(&t);
  std::ranges::stable_sort(tensors, {}, &DeclaredGgufTensor::offset);
  std::uint64_t end = 0;
  for (const DeclaredGgufTensor* t : tensors) {
    if (t->offset < end)
      throw FileError(file, "tensor " + in_quotes(t->tensor.name),
                      "data from byte " + std::to_string(end) + " on",
                      "byte " + std::to_string(t->offset) + ", an overlap");
    end = t->offset + t->size;
  }
}

}  // namespace

bool is_gguf(std::span<const std::byte> beginning) {
  return beginning.size() >= gguf_magic.size() &&
         std::memcmp(beginning.data(), gguf_magic.data(), gguf_magic.size()) == 0;
}

std::string_view GgufCursor::take(std::uint64_t count, std::size_t size) {
  const std::size_t left = text_.size() - at_;
  if (count > left / size) {
    const std::string times = count == 1 || size == 1 ? "" : std::to_string(count) + " times ";
    refuse(times + std::to_string(size == 1 ? count : size) + " bytes from byte " + std::to_string(at_),
           std::to_string(left) + " before the end of the file");
  }
  at_ += static_cast<std::size_t>(count) * size;
  return since(at_ - static_cast<std::size_t>(count) * size);
}

void GgufCursor::refuse(std::string_view expected, std::string_view found) const {
  throw FileError(file_, about_, expected, found);
}

Gguf::Gguf(Bytes bytes, std::string file) : ArrayFile(std::move(file)), bytes_(std::move(bytes)) {
  GgufCursor cursor(bytes_.view(), file_);
  cursor.enter("header");
  check_magic(cursor, bytes_.view());
  const auto count = cursor.read<std::uint64_t>();
  metadata_ = read_gguf_metadata(cursor, cursor.read<std::uint64_t>());
  std::vector<DeclaredGgufTensor> declared;
  for (std::uint64_t i = 0; i < count; ++i) declared.push_back(read_tensor(cursor, i));
  const std::uint64_t alignment = metadata_.alignment();
  const std::uint64_t data = gguf_padded(cursor.tell(), alignment);
  if (!declared.empty() && data > bytes_.size())
    throw FileError(file_, "data", "a beginning at byte " + std::to_string(data),
                    "the end of the file at byte " + std::to_string(bytes_.size()));
  for (const DeclaredGgufTensor& t : declared) check_place(t, alignment, bytes_.size() - data, file_);
  check_overlaps(declared, file_);
  for (DeclaredGgufTensor& t : declared) {
    if (!places_.try_emplace(t.tensor.name, Place{tensors_.size(), data + t.offset, t.size}).second)
      throw FileError(file_, "tensor " + in_quotes(t.tensor.name), "one of that name", "two");
    tensors_.push_back(std::move(t.tensor));
  }
}

std::vector<std::string> Gguf::names() const {
  std::vector<std::string> all;
  for (const GgufTensor& t : tensors_) all.push_back(t.name);
  return all;
}

const Gguf::Place& Gguf::place(std::string_view name) const {
  const auto found = places_.find(name);
  if (found == places_.end()) refuse_name(name);
  return found->second;
}

Array Gguf::read(std::string_view name) const {
  const Place& p = place(name);
  ArrayInfo array = array_info(tensors_[p.index]);
  const Bytes bytes = aligned(bytes_.slice(p.offset, p.size), array.type);
  return {std::move(array), bytes, file_};
}

std::string_view Gguf::block_type(std::string_view name) const {
  const std::string& type = tensor(name).type;
  return gguf_type(type).plain ? std::string_view{} : type;
}

}  // namespace nvfp4::io
