#include "markup.hpp"

namespace nvfp4::cli {
namespace {

constexpr const char* style =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "table{border-collapse:collapse;width:100%}th,td{padding:.25rem .6rem;border-bottom:1px solid "
    "#ddd;text-align:right}"
    "th:nth-child(-n+2),td:nth-child(-n+2){text-align:left}.bad{color:#b00020;font-weight:600}.good{color:#"
    "1b6e3a}"
    ".off{color:#777}code,pre{background:#f4f4f4;padding:.1rem "
    ".3rem;overflow-x:auto}svg{vertical-align:middle}";

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? std::string("\xEF\xBF\xBD")
                                                                              : std::string(1, c);
    }
  return out;
}

std::string html_page(std::string_view title, std::string_view body) {
  return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" + std::string(title) +
         "</title><style>" + style + "</style></head><body>\n" + std::string(body) + "</body></html>\n";
}

}  // namespace nvfp4::cli
