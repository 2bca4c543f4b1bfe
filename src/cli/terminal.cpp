#include "terminal.hpp"

#include <unistd.h>

#include <cstdlib>
#include <iostream>

namespace nvfp4::cli {
namespace {

bool wants_colour() {
  const char* refused = std::getenv("NO_COLOR");  // https://no-color.org
  return isatty(STDOUT_FILENO) && (!refused || !*refused);
}

constexpr const char* code_of(Colour colour) {
  switch (colour) {
    case Colour::red: return "\033[31m";
    case Colour::green: return "\033[32m";
    case Colour::dim: return "\033[2m";
  }
  return "";
}

}  // namespace

std::string coloured(Colour colour, std::string_view text) {
  static const bool wanted = wants_colour();
  return wanted ? code_of(colour) + std::string(text) + "\033[0m" : std::string(text);
}

std::string left(std::string_view text, std::size_t width) {
  return std::string(text) + std::string(width > text.size() ? width - text.size() : 1, ' ');
}

std::string right(std::string_view text, std::size_t width) {
  return std::string(width > text.size() ? width - text.size() : 0, ' ') + std::string(text);
}

Progress::Progress(std::string label) : label_(std::move(label)) {}

Progress::~Progress() {
  if (shown_) std::cerr << "\r\033[K" << std::flush;
}

void Progress::show(std::int64_t done, std::int64_t total, std::string_view what) {
  static const bool terminal = isatty(STDERR_FILENO);
  const int percent = total > 0 ? static_cast<int>(100 * done / total) : 100;
  if (!terminal || percent == percent_) return;
  percent_ = percent;
  shown_ = true;
  std::cerr << '\r' << label_ << ' ' << percent << "%  " << what.substr(0, 60) << "\033[K" << std::flush;
}

}  // namespace nvfp4::cli
