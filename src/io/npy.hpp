#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nvfp4/io/array.hpp>

namespace nvfp4::io {

const ElementInfo* find_npy(std::string_view descr);
const ElementInfo* find_safetensors(std::string_view name);

/// No header of any version may be longer than version 1.0 allows.
inline constexpr std::size_t npy_header_limit = 12 + 65535;

struct NpyHeader {
  ElementType type = ElementType::u8;
  std::vector<std::int64_t> shape;
  bool fortran_order = false;
  std::size_t data_offset = 0;
};

/// Where a message says that it is: `place` is "" for a file of its own, "member 'a.npy', " inside a zip.
struct NpySource {
  std::string file;
  std::string place;
};

bool is_npy(std::span<const std::byte> beginning);

/// From the first bytes of a file of `file_size`; npy_header_limit of them are enough.
NpyHeader parse_npy_header(std::span<const std::byte> beginning, std::uint64_t file_size, const NpySource&);
Array parse_npy(const Bytes& file, const NpySource&, std::string name);

/// Magic, version and dict: what precedes the elements. Throws FileError (of `file`) for F4 and F6,
/// std::invalid_argument where the bytes are not those of the shape.
std::string npy_preamble(const ArrayView&, const std::string& file);

/// The bytes themselves, or a copy, aligned for the element.
Bytes aligned(const Bytes&, ElementType);

}  // namespace nvfp4::io
