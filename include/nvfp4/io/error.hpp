#pragma once
#include <stdexcept>
#include <string>
#include <string_view>

namespace nvfp4::io {

/// A file that cannot be read, is not what it should be, or cannot be written. what() is one line,
/// "FILE: PLACE: expected X, found Y"; control characters and bytes that are not UTF-8 come out escaped.
class FileError : public std::runtime_error {
 public:
  /// place: "byte 17", "header field 'shape'", "array 'scales'", "manifest field 'block'", ...
  FileError(std::string_view file, std::string_view place, std::string_view expected, std::string_view found);
};

}  // namespace nvfp4::io
