#pragma once
#include <string>

#include <nlohmann/json.hpp>

namespace nvfp4 {

/// A document as JSON; null where it is none, or nests deeper than documents do: what writes it goes as deep.
nlohmann::ordered_json parsed_document(const std::string& text);

}  // namespace nvfp4
