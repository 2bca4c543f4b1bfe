#pragma once
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace nvfp4::io {

/// nlohmann's message without its error number.
std::string reason(const nlohmann::json::exception&);

/// A small document from an untrusted file: at most 1 MiB, 32 levels, no key twice. Throws FileError.
nlohmann::json parse_json(std::string_view text, const std::string& file, const std::string& place);

}  // namespace nvfp4::io
