#include <nvfp4/io/error.hpp>

#include "text.hpp"

namespace nvfp4::io {

FileError::FileError(std::string_view file, std::string_view place, std::string_view expected,
                     std::string_view found)
    : std::runtime_error(printable(file) + ": " + printable(place) + ": expected " + printable(expected) +
                         ", found " + printable(found)) {}

}  // namespace nvfp4::io
