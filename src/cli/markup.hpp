#pragma once
#include <string>
#include <string_view>

namespace nvfp4::cli {

/// For text and attributes of XML and HTML; control characters come out as U+FFFD.
std::string escaped(std::string_view);

/// A page of its own, without anything from elsewhere. Both are markup.
std::string html_page(std::string_view title, std::string_view body);

}  // namespace nvfp4::cli
