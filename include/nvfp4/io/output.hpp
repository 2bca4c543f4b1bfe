#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace nvfp4::io {

enum class Overwrite : bool { no, yes };

/// A file that appears whole or not at all: a temporary beside the target, renamed by commit(), removed
/// by the destructor. "-" is stdout; there, and into a pipe or device, the bytes go at commit().
class OutputFile {
 public:
  /// Throws FileError for an existing target (unless Overwrite::yes), a directory, an unwritable folder.
  OutputFile(std::string path, Overwrite);
  ~OutputFile();
  OutputFile(OutputFile&&) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;

  const std::string& path() const { return path_; }
  /// At tell(), which moves on. Throws FileError.
  void write(std::span<const std::byte>);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  /// Where the next write lands, and how many bytes there are.
  void seek(std::uint64_t offset) { offset_ = offset; }
  std::uint64_t tell() const { return offset_; }
  std::uint64_t size() const { return size_; }
  /// fsync, then rename. A target that has appeared meanwhile is refused, unless Overwrite::yes.
  void commit();

 private:
  std::string path_, target_, temporary_;  ///< no temporary name: spooled, and copied to the target
  Overwrite overwrite_;
  int fd_ = -1;
  std::uint64_t offset_ = 0, size_ = 0;
};

/// The whole of a text or JSON output.
void write_text(const std::string& path, std::string_view text, Overwrite);

}  // namespace nvfp4::io
