#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace nvfp4::cli {

enum class Colour { red, green, dim };

/// The text in a colour where stdout is a terminal and NO_COLOR is unset or empty; else as it is.
std::string coloured(Colour, std::string_view text);

/// A table's cell: the text and blanks behind or before it; left() keeps one blank where the text is too wide.
std::string left(std::string_view text, std::size_t width);
std::string right(std::string_view text, std::size_t width);

/// A line on stderr that is written over as work goes on; nothing unless stderr is a terminal.
class Progress {
 public:
  explicit Progress(std::string label);
  ~Progress();
  void show(std::int64_t done, std::int64_t total, std::string_view what);

 private:
  std::string label_;
  bool shown_ = false;
  int percent_ = -1;
};

}  // namespace nvfp4::cli
