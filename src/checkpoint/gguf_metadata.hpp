#pragma once
#include <cstdint>
#include <optional>

#include <nvfp4/io/gguf.hpp>

#include "checkpoint.hpp"

namespace nvfp4 {

/// Keys and values of a GGUF file among documents and metadata: strings "nvfp4.NAME" are documents and
/// "nvfp4.metadata.NAME" metadata, all others lie in one entry "gguf", as the Base64 of a GGUF file without tensors.
void take_gguf_metadata(const io::GgufMetadata&, Documents&, io::Metadata&);

/// The inverse, of metadata with documents among them. Without an entry "gguf", what no reader does without. Throws
/// io::FileError for an entry that is something else.
io::GgufMetadata gguf_metadata(const io::Metadata&);

/// Sets general.file_type, which is of one type of tensor but speaks of the file.
void set_gguf_file_type(io::Metadata&, std::uint32_t type);

}  // namespace nvfp4
