#pragma once
#include <sstream>
#include <string>
#include <vector>

/// What tests need of a page: its code blocks, and of a console block the commands with their output.
namespace markdown {

struct Block {
  std::string language, text;
};

inline std::vector<Block> code_blocks(const std::string& page) {
  std::vector<Block> blocks;
  std::istringstream lines(page);
  bool inside = false;
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("```")) {
      inside = !inside;
      if (inside) blocks.push_back({line.substr(3), ""});
    } else if (inside) {
      blocks.back().text += line + '\n';
    }
  return blocks;
}

struct Session {
  std::string command, output;
};

/// Lines "$ COMMAND", where one that ends in a backslash goes on, each with the output that follows it.
inline std::vector<Session> sessions(const std::string& text) {
  std::vector<Session> all;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("$ ")) {
      all.push_back({line.substr(2), ""});
      while (all.back().command.ends_with('\\') && std::getline(lines, line)) {
        all.back().command.pop_back();
        all.back().command += line;
      }
    } else if (!all.empty()) {
      all.back().output += line + '\n';
    }
  }
  return all;
}

inline std::vector<std::string> words(const std::string& command) {
  std::istringstream text(command);
  std::vector<std::string> list;
  for (std::string word; text >> word;) list.push_back(word);
  return list;
}

}  // namespace markdown
