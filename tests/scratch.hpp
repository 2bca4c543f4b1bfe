#pragma once
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <nvfp4/io/bytes.hpp>
#include <nvfp4/io/error.hpp>

/// Files that tests make, and what the readers say of them.
namespace scratch {

/// A folder of its own, gone at the end of the test.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "nvfp4-XXXXXX").string();
    if (!::mkdtemp(name.data())) throw std::runtime_error("no folder for temporary files");
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string operator/(std::string_view name) const { return (path_ / name).string(); }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path_), {}));
  }

 private:
  std::filesystem::path path_;
};

inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void spill(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline nvfp4::io::Bytes bytes(std::string_view text) {
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return nvfp4::io::Bytes(std::vector<std::byte>(first, first + text.size()));
}

/// `value` as little-endian bytes.
template <class T>
std::string le(T value) {
  std::string text(sizeof value, '\0');
  std::memcpy(text.data(), &value, sizeof value);
  return text;
}

/// The one line of the FileError that `act` throws; "" where it throws none.
template <class Act>
std::string refusal(Act act) {
  try {
    act();
  } catch (const nvfp4::io::FileError& e) {
    return e.what();
  }
  return "";
}

/// The message of the std::invalid_argument that `act` throws; "" where it throws none.
template <class Act>
std::string rejection(Act act) {
  try {
    act();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "";
}

}  // namespace scratch
