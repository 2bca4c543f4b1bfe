#include <doctest/doctest.h>

#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "tests/markdown.hpp"
#include "tests/program.hpp"

/// Every code block of README.md is an excerpt of something that runs.
namespace {

const std::string root = std::string(NVFP4_SOURCE_DIR) + "/";

/// In order and in one folder: a later command may read what an earlier one wrote.
void check_sessions(const std::string& text) {
  const scratch::Folder folder;
  const auto home = std::filesystem::current_path();
  std::filesystem::current_path(folder / "");
  for (const markdown::Session& s : markdown::sessions(text)) {
    program::Arguments arguments = markdown::words(s.command);
    CAPTURE(s.command);
    CHECK(arguments.at(0) == "nvfp4");
    arguments.erase(arguments.begin());
    CHECK(program::run(arguments).out == s.output);
  }
  std::filesystem::current_path(home);
}

void check_scripts(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    CAPTURE(line);
    CHECK(std::filesystem::is_regular_file(root + markdown::words(line).at(0)));
  }
}

}  // namespace

TEST_CASE("readme: every code block is true") {
  const std::vector<markdown::Block> blocks = markdown::code_blocks(scratch::slurp(root + "README.md"));
  REQUIRE(blocks.size() >= 4);
  for (const markdown::Block& block : blocks) {
    CAPTURE(block.text);
    if (block.language == "console")
      check_sessions(block.text);
    else if (block.language == "sh")
      check_scripts(block.text);
    else if (block.language == "cpp")
      CHECK(program::has(scratch::slurp(root + "tests/consumer/main.cpp"), block.text));
    else if (block.language == "cmake")
      CHECK(program::has(scratch::slurp(root + "tests/consumer/CMakeLists.txt"), block.text));
    else
      FAIL("a block of no language that this test knows: " << block.language);
  }
}
