#pragma once
#include <string>

#include <nvfp4/inspect.hpp>

#include "command.hpp"

namespace nvfp4::cli {

Json histogram_json(const ScaleHistogram&);

/// "12 (3.40%)"
std::string share_text(std::int64_t part, std::int64_t whole);

/// A line of counts, and one for each of the 16 exponents that occurs, with a bar.
std::string histogram_text(const ScaleHistogram&);

}  // namespace nvfp4::cli
