#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nvfp4/io/safetensors.hpp>

namespace nvfp4::io {

struct DeclaredTensor {
  ArrayInfo info;
  std::uint64_t begin = 0, end = 0;  ///< bytes after the header
};

struct SafetensorsHeader {
  std::vector<DeclaredTensor> tensors;  ///< as declared; nothing is compared with the file yet
  Metadata metadata;
};

inline constexpr std::uint64_t safetensors_header_limit = 100'000'000;
inline constexpr std::string_view metadata_key = "__metadata__";

/// Throws FileError.
SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& file);

}  // namespace nvfp4::io
